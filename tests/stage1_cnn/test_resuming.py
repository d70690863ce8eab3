"""A training that is killed again and again ends as if nothing had been."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
LIVES = 20
pytestmark = pytest.mark.slow


def run_program(name, *arguments, launcher=(), threads=1):
    """What a program in this folder prints last, as JSON."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)]),
        "OMP_NUM_THREADS": str(threads),
    }
    command = [sys.executable, *launcher, str(HERE / name), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_twenty_kills_at_random_steps_change_no_byte(tmp_path):
    found = run_program("cut_off.py", tmp_path, LIVES)
    assert found["killed"] == [None] * LIVES
    assert found["resumed"] == found["through"]
    assert found["through"]["raw"] != found["through"]["ema"]
