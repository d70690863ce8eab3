"""Every stage where the disk is full or may not be written: one message, and all is as before."""

import random
import re
import resource
import shutil
import subprocess
from collections.abc import Callable
from functools import partial

import pytest
from forked_stages import STAGES, Ended, Spoiled, list_outputs, run_forked
from mounts import forbid_writing, make_disk, needs_mounts

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]
TOO_LARGE = "(?:File too large|Input/output error)"  # the second of SQLite
COMMANDS = {
    "contact_sheet": ("stage1_cnn.contact_sheet", "--backbone", "resnet"),
    "carry": ("features.carry", "--pack", "carry.tar"),
    "tune": ("stage2_ensemble.tune", "--trials", "1"),
    "compare": ("stage1_cnn.compare", "--set", "compare.seeds=1", "--set", "compare.rows=[60]"),
}


def limit_files(size: int) -> None:
    """No file of this process, and of those that it starts, may grow beyond `size` bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def choose_sizes(project: Spoiled, stage: str) -> list[int]:
    """Bytes: none, few, and such that a part of what the stage writes still fits."""
    places = [name for name, by in list_outputs().items() if by.partition("@")[0] == stage]
    sizes = [
        path.stat().st_size
        for place in places
        for path in [project.folder / place, *(project.folder / place).rglob("*")]
        if path.is_file()
    ]
    rng, largest = random.Random(stage), max(sizes)
    between = [rng.randrange(1000, largest) for _ in range(2)] if largest > 1000 else []
    return sorted({0, 1000, *between, largest - 1})


def check_told(ended: Ended, project: Spoiled, before: dict[str, str], reason: str) -> None:
    """One message that names a place and says what to do; no file has changed or is left over."""
    ended.check_refusal()
    assert len(re.findall(rf"{reason} \([^)]+\)\. [A-Z].+", ended.said)) == 1, ended.said
    assert project.digest() == before, ended.said
    assert not project.list_temporary(), ended.said


@pytest.mark.fault("a full disk")
@pytest.mark.parametrize("stage", STAGES)
def test_a_full_disk_is_told_and_leaves_all_as_it_was(project, stage):
    before, refused = project.digest(), 0
    for size in choose_sizes(project, stage):
        if size <= 1000 or stage == "prepare":
            shutil.rmtree(project.folder / ".store")  # it is to be written too
        ended = project.run(stage, partial(limit_files, size))
        if ended.code:  # else all fits
            check_told(ended, project, before, TOO_LARGE)
            refused += 1
        assert project.digest() == before
        project.restore()
    assert refused >= 2


@pytest.mark.fault("a full disk")
@pytest.mark.parametrize("command", COMMANDS)
def test_commands_tell_of_a_full_disk_too(project, command):
    before = project.digest()
    for size in (0, 1000):
        ended = run_forked(project.folder, COMMANDS[command], partial(limit_files, size))
        (project.folder / "artifacts/tune/trials.journal").unlink(missing_ok=True)  # a log
        check_told(ended, project, before, TOO_LARGE)


@pytest.mark.fault("a full disk")
@pytest.mark.parametrize("size", [0, 1000, 100_000])
def test_trainings_side_by_side_tell_of_a_full_disk(finished_tiny, tmp_path, size):
    """The last has room for what DVC notes, and none for weights."""
    project = finished_tiny.copy(tmp_path / "copy")
    params = project.read_params()
    params["backbones"]["resnet"]["optimizer"] = {"lr": 1e-3}
    project.write_params(params)
    place = "artifacts/members/efficientnet/"
    before = {name: digest for name, digest in project.digest().items() if place in name}
    command = ("stage1_cnn.train_all", "--devices", "cpu")
    ended = run_forked(project.folder, command, partial(limit_files, size))
    ended.check_refusal()
    assert re.search(TOO_LARGE + "|disk", ended.said), ended.said
    after = project.digest()
    assert {name: after[name] for name in before} == before
    assert "resnet-0" in project.run("python", "-m", "stage1_cnn.train_all", "--devices", "cpu")
    assert "artifacts/members/resnet/0/weights.safetensors" in project.digest()


@pytest.mark.fault(
    "a folder that may not be written", "error; all is as before", "Disks, signals, kills"
)
@needs_mounts
@pytest.mark.parametrize("stage", STAGES)
def test_a_folder_that_may_not_be_written_is_told(project, stage):
    before = project.digest()
    result = "data" if stage == "demo" else "artifacts"
    for place in (".", result):
        ended = project.run(stage, partial(forbid_writing, place))
        check_told(ended, project, before, "Read-only file system")


def fill(project: Spoiled, place: str, kilobytes: int) -> Callable[[], None]:
    """What makes `place` a disk of its own of so many kB, with what lies there already."""
    copy = project.folder.parent / "kept"

    def prepare() -> None:
        subprocess.run(["cp", "-a", place, copy], check=True)
        make_disk(place, kilobytes)
        subprocess.run(["cp", "-a", f"{copy}/.", place], check=False)

    return prepare


@pytest.mark.fault("a full disk")
@needs_mounts
@pytest.mark.parametrize(("stage", "place"), [
    ("train", "artifacts/members/resnet"), ("dump", "artifacts/dumps/resnet"),
    ("stack", "artifacts/stackers/models"), ("evaluate", "artifacts/plots"),
    ("gallery", "artifacts/gallery"), ("forensics", "artifacts/forensics"),
])  # fmt: skip
def test_a_disk_without_room_for_a_second_copy_is_told(project, stage, place):
    before = project.digest()
    taken = sum(p.stat().st_size for p in (project.folder / place).rglob("*") if p.is_file())
    ended = project.run(stage, fill(project, place, taken // 1024 + 8))
    check_told(ended, project, before, "No space left on device")
