"""Every stage killed without warning, again and again: it ends with the same bytes."""

import os
import random
import shutil
import signal
import sys
from collections.abc import Callable
from functools import partial

import pytest
from forked_stages import STAGES, Spoiled, list_outputs

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]
KILLS = 20
FILE_EVENTS = {"open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "shutil.rmtree"}
"""What Python announces before it touches a file (PEP 578)."""


def watch_files(project: Spoiled, act: Callable[[int], None]) -> None:
    """Calls `act` with the number of each touch of a file below the project's folder."""
    home, seen = str(project.folder), [0]

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event not in FILE_EVENTS or not isinstance(arguments[0], str | os.PathLike):
            return
        path = os.path.abspath(os.fspath(arguments[0]))
        if path.startswith(home):
            seen[0] += 1
            act(seen[0])

    sys.addaudithook(hook)


def count_touches(project: Spoiled, stage: str) -> int:
    """How often a whole run of the stage touches files."""
    told = project.folder.parent / "touches"
    ended = project.run(stage, partial(watch_files, project, lambda count: tell(told, count)))
    assert ended.code == 0, ended.said
    return told.stat().st_size


def tell(path: os.PathLike[str], count: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, b".")
    os.close(descriptor)


def die_at(moment: int, count: int) -> None:
    if count == moment:
        os.kill(os.getpid(), signal.SIGKILL)


def remove(project: Spoiled, places: list[str]) -> None:
    for place in places:
        path = project.folder / place
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@pytest.mark.fault("SIGKILL at any step")
@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_twenty_points_the_same_command_gives_the_same_bytes(project, stage):
    """At ten touches of files and ten moments; every fourth time it is run to its end."""
    rng, before = random.Random(stage), project.digest()
    touches = count_touches(project, stage)
    seconds = project.run(stage).seconds
    assert project.digest() == before
    outputs = [path for path, by in list_outputs().items() if by in (stage, f"{stage}@resnet-0")]
    for kill in range(KILLS):
        if kill % 4 == 0:
            remove(project, outputs)  # as DVC does before it starts a stage
        if kill % 2:
            moment = rng.randint(1, touches)
            ended = project.run(stage, partial(watch_files, project, partial(die_at, moment)))
        else:
            ended = project.run(stage, kill_after=rng.uniform(0, seconds))
        assert ended.code in (0, -signal.SIGKILL), ended.said  # 0: it was faster this time
        after = project.digest()
        partly = [n for n in after if n in before and after[n] != before[n]]
        assert not partly, "files under their final name are whole"
        if kill % 4 == 3:
            ended = project.run(stage)
            assert ended.code == 0, ended.said
            assert project.digest() == before
            assert project.list_temporary() == []
