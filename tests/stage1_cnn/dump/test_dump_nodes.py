"""A dump by two machines, as two launchers on this one: what one process says, and what a lost
process leaves."""

import signal
from pathlib import Path

import numpy as np
import pytest
from dump_task import COUNTS, dump, make_project
from machines import PATIENCE, Machines
from programs import HERE, ROOT

pytestmark = pytest.mark.scale


def start(folder: Path, patience: float, pause: float) -> Machines:
    program = [str(HERE / "slow_dump.py"), "--backbone", "net", "--out", "out"]
    program += ["--set", "images.store=raw", "--set", "dump.tta=six"]
    return Machines(folder, program, patience, (ROOT, HERE), PAUSE=str(pause))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["dead", "hung"])
def test_a_lost_process_of_a_dump_is_named_and_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    make_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    wanted = dump(tmp_path / "alone", "dump.tta=six")

    cut = start(tmp_path, PATIENCE, pause=1)
    cut.wait_until(lambda: bool(list(tmp_path.glob(".resume/dump-net-0-*/train.json"))))
    cut.lose(number)
    assert not (tmp_path / "out").exists()

    again = start(tmp_path, 300, pause=0)
    assert again.wait() == [0, 0], again.said
    assert "goes on after" in again.said
    assert again.said.count("val 40 rows") == 1  # the first process speaks and writes
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == wanted.keys()
    for role in COUNTS:
        for name, tolerance in (("row_ids", 0), ("logits", 1e-5), ("embeddings", 1e-2)):
            found, alone = (np.load(f / f"{role}.{name}.npy") for f in (out, tmp_path / "alone"))
            np.testing.assert_allclose(found, alone, atol=tolerance)
