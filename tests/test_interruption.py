"""Trainings that are cut off in every way, as their users see it: by the command line."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from project_copy import Project

pytestmark = pytest.mark.slow
TRAIN = [
    *("-m", "stage1_cnn.train", "--backbone", "small", "--set"),
    # Layer norm: two processes give what one gives.
    "backbones.small={model: test_convnext, schedule: {epochs: 24, warmup_epochs: 1}}",
]


@pytest.fixture(scope="module")
def project(finished_tiny, tmp_path_factory) -> Project:
    """The tiny task, ready to train on."""
    return finished_tiny.copy(tmp_path_factory.mktemp("cut off") / "a b é")


def start(project, out, *options, **environment):
    """A training that writes into `out`, and what it says into `out.log`."""
    log = project.folder / f"{out}.log"
    command = [sys.executable, *TRAIN, "--out", f"trials/{out}", *options]
    with open(log, "w") as file:
        return subprocess.Popen(
            command, cwd=project.folder, stdout=file, stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"} | environment,
        )  # fmt: skip


def read_log(project, out):
    return (project.folder / f"{out}.log").read_text()


def wait_for_epoch(project, out, training, epoch=3):
    end = time.monotonic() + 120
    while f"epoch {epoch}/" not in read_log(project, out):
        assert training.poll() is None, read_log(project, out)
        assert time.monotonic() < end, read_log(project, out)
        time.sleep(0.05)


def finish(project, out, *options, code=0, **environment):
    training = start(project, out, *options, **environment)
    assert training.wait(timeout=200) == code, read_log(project, out)
    return read_log(project, out)


def find_states(project, out):
    """Folders of saved states of the run into `out`."""
    keys = (project.folder / ".resume").glob("*/key.json")
    return [path.parent for path in keys if f"trials/{out}" in path.read_text()]


def list_processes(project):
    """Process numbers of the trainings of this project."""
    found = []
    for path in os.scandir("/proc"):
        if path.name.isdigit():
            try:
                command = Path(path, "cmdline").read_bytes()
                folder = os.readlink(f"/proc/{path.name}/cwd")
            except OSError:
                continue
            if b"stage1_cnn.train" in command and folder == str(project.folder):
                found.append(int(path.name))
    return found


def wait_for_end(project, seconds=30):
    end = time.monotonic() + seconds
    while list_processes(project):
        assert time.monotonic() < end, f"{list_processes(project)} still run"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def whole(project):
    """The files of a training that nobody disturbed."""
    finish(project, "whole")
    return {path.name: path.read_bytes() for path in (project.folder / "trials/whole").iterdir()}


@pytest.mark.fault(
    "SIGTERM, Ctrl-C, out of time",
    "saves, exit code 75, goes on; with several processes too, up to rounding",
    "Disks, signals, kills",
)
@pytest.mark.faults
def test_stopped_by_a_signal_and_by_time_it_ends_with_the_same_bytes(project, whole):
    training = start(project, "cut")
    wait_for_epoch(project, "cut", training)
    training.send_signal(signal.SIGSTOP)  # it waits, and holds what it has
    refused = finish(project, "second", "--out", "trials/cut", code=2)
    training.send_signal(signal.SIGCONT)
    assert f"trials/cut is in use by process {training.pid}" in refused
    training.send_signal(signal.SIGTERM)
    assert training.wait(timeout=60) == 75
    assert "(SIGTERM). The same command goes on from there." in read_log(project, "cut")
    long_ago = {"FORGERYSTACK_STARTED": "0", "FORGERYSTACK_MAX_MINUTES": "1"}
    said = finish(project, "cut", code=75, **long_ago)
    steps = [int(n) for n in re.findall(r"after step (\d+) of", said)]
    assert steps[1] == steps[0] + 1  # goes on after …, stopped after …
    assert not (project.folder / "trials/cut").exists()
    assert f"goes on after step {steps[1]} of 96" in finish(project, "cut")
    files = {path.name: path.read_bytes() for path in (project.folder / "trials/cut").iterdir()}
    assert files == whole
    assert not find_states(project, "cut")


@pytest.mark.fault("SIGTERM, Ctrl-C, out of time")
@pytest.mark.faults
def test_two_processes_stop_and_one_goes_on(project, whole):
    training = start(project, "pair", "--processes", "2", "--json")
    wait_for_epoch(project, "pair", training)
    training.send_signal(signal.SIGINT)
    assert training.wait(timeout=60) == 75
    said = read_log(project, "pair")
    events = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert [e["code"] for e in events if e["event"] in ("stopped", "done")] == [75]
    assert events[-1]["event"] == "stopped"
    assert "2 processes" in said
    assert "Traceback" not in said
    wait_for_end(project)
    finish(project, "pair")
    losses = [
        pd.read_csv(project.folder / "trials" / out / "history.csv")["loss"].tolist()
        for out in ("pair", "whole")
    ]
    # Rounding grows: after many steps no two ways of adding up would agree.
    assert losses[0][:10] == pytest.approx(losses[1][:10], abs=2e-3)


@pytest.mark.fault(
    "one of several processes dies",
    "all end, with an exit code that is not 0",
    "Disks, signals, kills",
)
@pytest.mark.faults
def test_when_one_of_two_processes_is_killed_all_end(project):
    training = start(project, "killed", "--processes", "2")
    wait_for_epoch(project, "killed", training)
    workers = sorted(set(list_processes(project)) - {training.pid})
    os.kill(workers[-1], signal.SIGKILL)
    assert training.wait(timeout=60) not in (0, 75)
    wait_for_end(project)


PARENT = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"


@pytest.mark.fault(
    "what started it is killed",
    "a stage of DVC saves and ends by itself",
    "Disks, signals, kills",
)
def test_orphans_save_and_end(project):
    """DVC, or whoever started it, is killed; the next run goes on."""
    log = project.folder / "orphan.log"
    command = [sys.executable, *TRAIN, "--out", "trials/orphan"]
    with open(log, "w") as file:
        parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, *command], cwd=project.folder, stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "DVC_STAGE": "train@small-0"},
        )  # fmt: skip
    wait_for_epoch(project, "orphan", parent)
    parent.kill()
    wait_for_end(project)
    assert "the process that started it has ended" in read_log(project, "orphan")
    (states,) = find_states(project, "orphan")
    assert list(states.glob("*.pt"))


@pytest.mark.fault("going on with other settings, code or data")
def test_other_settings_start_anew_and_say_why(project):
    assert find_states(project, "orphan")
    changed = ("--set", "backbones.small.schedule.epochs=2", "--out", "trials/orphan")
    said = finish(project, "changed", *changed)
    assert "a stopped run, but with another settings.schedule.epochs: not used" in said
    assert "goes on" not in said
    assert not find_states(project, "orphan")  # what is finished clears its place
