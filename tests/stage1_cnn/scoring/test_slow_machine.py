"""A machine that has pictures to decode: the others wait for it as long as it lives."""

import os
import re
import socket
import subprocess
import sys
import time

import pytest
from dump_task import make_project
from frozen_task import make_frozen_project
from programs import HERE, ROOT

pytestmark = pytest.mark.scale
TIMEOUT = 3


def start(folder, stage, seconds, **environment):
    """Two processes as two machines start them, without a launcher that would end the other one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, str(HERE / "slow_store.py"), stage, "--backbone", "net"]
    known = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)]),
        "FORGERYSTACK_PROCESS_TIMEOUT": str(TIMEOUT),
        "TORCHELASTIC_RUN_ID": "7",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "SECONDS": str(seconds),
        "OMP_NUM_THREADS": "1",
        **environment,
    }
    return [
        subprocess.Popen(
            [*command, "--out", "out"], cwd=folder, text=True, env={**known, "RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for rank in range(2)
    ]  # fmt: skip


def finish(started):
    said = [process.communicate(timeout=200)[0] for process in started]
    return [process.returncode for process in started], said


@pytest.mark.parametrize(
    ("stage", "make"), [("train", make_frozen_project), ("dump", make_project)]
)
def test_the_others_wait_for_a_machine_that_decodes(tmp_path, stage, make):
    make(tmp_path)
    codes, said = finish(start(tmp_path, stage, 3 * TIMEOUT))
    assert codes == [0, 0], said
    assert list((tmp_path / "out").iterdir())


@pytest.mark.fault(
    "a machine that dies while it decodes pictures",
    "the others end with an error that names it, and the same command goes on",
    "Disks, signals, kills",
)
def test_a_machine_that_dies_while_it_decodes_is_named(tmp_path):
    make_project(tmp_path)
    start_time = time.monotonic()
    started = start(tmp_path, "dump", 2, LOST="1")
    codes, (said, _) = finish(started)
    assert codes == [2, -9], said
    assert re.search(rf"process 1 of 2 \(.*, pid {started[1].pid}\) ended .*", said)
    assert f"no answer for {TIMEOUT} s" in said
    assert time.monotonic() - start_time < 120
