"""One run at a time on a folder of results."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from features.errors import LockedError
from features.runtime import locks
from features.runtime.locks import hold

HOLD = """
import sys, time
from pathlib import Path
from features.runtime.locks import hold
with hold(Path("out"), Path("resume")):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_on_a_folder_is_refused_until_the_first_is_dead(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = str(Path(locks.__file__).parents[2])
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip
    try:
        assert first.stdout.readline() == "held\n"
        refused = pytest.raises(LockedError, match=f"out is in use by process {first.pid}")
        with refused, hold(tmp_path / "out", tmp_path / "resume"):
            pass
        with hold(tmp_path / "other", tmp_path / "resume"):
            pass
    finally:
        first.kill()
        first.wait()
    with hold(tmp_path / "out", tmp_path / "resume"):
        pass
