"""What differs between machines changes no byte; what a session lacks stops none."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
import yaml
from forked_stages import STAGES, Spoiled
from mounts import forbid_writing, make_disk, needs_mounts

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]
OTHER = {
    "LC_ALL": "C",
    "LANG": "tr_TR.ISO-8859-9",
    "TZ": "Asia/Kathmandu",
    "PYTHONHASHSEED": "7",
    "OMP_NUM_THREADS": "2",
}


@pytest.mark.fault(
    "another locale, time zone, hash seed or number of threads",
    "the same bytes",
    "Settings and surroundings",
)
@pytest.mark.parametrize("stage", ["prepare", "forensics", "stack", "evaluate", "label", "report"])
def test_other_surroundings_give_the_same_bytes(project, stage):
    before = project.digest()
    shutil.rmtree(project.folder / ".store")
    module, *options = STAGES[stage]
    done = subprocess.run(
        [sys.executable, "-m", module, *options], cwd=project.folder, capture_output=True,
        env={**os.environ, **OTHER, "PYTHONPATH": os.getcwd()}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert project.digest() == before


@pytest.mark.fault("read-only data", "nothing is written there", "Settings and surroundings")
@needs_mounts
@pytest.mark.parametrize("stage", ["inputs", "prepare", "forensics", "train", "dump", "report"])
def test_data_that_may_not_be_written_are_read(project, stage):
    before = project.digest()
    shutil.rmtree(project.folder / ".store")
    ended = project.run(stage, partial(forbid_writing, "data"))
    assert ended.code == 0, ended.said
    assert project.digest() == before


@pytest.mark.fault("little shared memory", "goes on", "Settings and surroundings")
@needs_mounts
@pytest.mark.parametrize("stage", ["demo", "prepare", "forensics", "train", "stack", "evaluate"])
def test_64_kilobytes_of_shared_memory_are_enough(project, stage):
    before = project.digest()
    shutil.rmtree(project.folder / ".store")
    ended = project.run(stage, partial(make_disk, "/dev/shm", 64))
    assert ended.code == 0, ended.said
    assert project.digest() == before


@pytest.mark.fault("damaged decoded images", "read again, and goes on", "Damaged and foreign files")
@pytest.mark.parametrize("kind", ["flip", "cut", "empty"])
@pytest.mark.parametrize("name", ["images-00000.bin", "thumbnails-00000.bin", "index.sqlite"])
def test_a_damaged_store_is_made_again(project, name, kind):
    before = project.digest()
    (path,) = (project.folder / ".store").glob(f"*/{name}")
    for stage in ("prepare", "train", "forensics"):
        content = bytearray(path.read_bytes())
        content[len(content) // 3 : len(content) // 3 + 1] = b"?"
        half = content[: len(content) // 2]
        path.write_bytes({"flip": content, "cut": half, "empty": b""}[kind])
        ended = project.run(stage)
        assert ended.code == 0, ended.said
        assert project.digest() == before, (stage, ended.said)


def wait_for(log, words: str, running: subprocess.Popen) -> None:
    end = time.monotonic() + 120
    while words not in log.read_text():
        assert running.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)


@pytest.mark.fault(
    "DVC killed in the middle of a stage",
    "dvc.lock is whole; `dvc repro` goes on to the same bytes",
    "Disks, signals, kills",
)
@pytest.mark.parametrize("stage", ["prepare", "train@resnet-0", "evaluate"])
def test_dvc_killed_in_a_stage_goes_on(finished_tiny, tmp_path, stage):
    project, log = finished_tiny.copy(tmp_path / "copy"), tmp_path / "log"
    copy = project.folder
    before, locked = project.digest(), yaml.safe_load((copy / "dvc.lock").read_text())
    with open(log, "w") as file:
        running = subprocess.Popen(
            ["dvc", "repro", "-s", "-f", stage], cwd=copy, stdout=file, stderr=subprocess.STDOUT,
            env={**os.environ, "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"},
        )  # fmt: skip
    wait_for(log, "Running stage", running)
    time.sleep(1.0)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert yaml.safe_load((copy / "dvc.lock").read_text()) == locked
    said = project.run("dvc", "repro")
    assert re.search(f"Running stage '{stage}'", said) or project.digest() == before
    assert project.digest() == before
    assert not Spoiled.list_temporary(project)
