"""A damaged file of an earlier stage: an error that names both, never another result."""

import random
from collections import Counter
from pathlib import Path

import pytest
from forked_stages import STAGES, Spoiled, list_inputs, list_outputs

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]
KINDS = ("flip", "cut", "empty", "swap")


def damage(path: Path, kind: str, rng: random.Random, other: bytes) -> None:
    content = bytearray(path.read_bytes())
    if kind == "flip":
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        content = content[: rng.randrange(1, len(content))]
    path.write_bytes({"empty": b"", "swap": other}.get(kind, content))


def choose_kinds(place: int, stage: str) -> list[str]:
    """Two of the four; others for the next file, and for the next reader of this one."""
    first = place + list(STAGES).index(stage)
    return [KINDS[(first + i) % len(KINDS)] for i in (0, 2)]


def find_stage(name: str) -> str:
    """The stage that makes a file, alone or in a folder."""
    outputs = list_outputs()
    return next(
        outputs[place] for place in (name, *map(str, Path(name).parents)) if place in outputs
    )


def list_files(project: Spoiled, places: list[str]) -> list[str]:
    files = []
    for place in places:
        path = project.folder / place
        files += sorted(path.rglob("*")) if path.is_dir() else [path]
    return [p.relative_to(project.folder).as_posix() for p in files if p.is_file()]


@pytest.mark.fault(
    "a bit flipped, a cut, an emptied or an exchanged file of another stage",
    "error that names it and the stage that makes it",
    "Damaged and foreign files",
)
@pytest.mark.parametrize("stage", [stage for stage in STAGES if list_inputs(stage)])
def test_a_damaged_file_is_told_with_the_stage_that_makes_it(project, stage):
    names = [n for n in list_files(project, list_inputs(stage)) if not n.endswith(".png")]
    rng, before, ends = random.Random(stage), project.digest(), Counter()
    others = dict(zip(names, [*names[1:], names[0]], strict=True))
    for place, name in enumerate(names):
        for kind in choose_kinds(place, stage):
            other = (project.finished / others[name]).read_bytes()
            damage(project.folder / name, kind, rng, other)
            ended = project.run(stage)
            if ended.code:
                ended.check_refusal(name, f"dvc repro -f {find_stage(name)}")
            ends[kind, ended.code] += 1
            project.restore_file(name)
            assert project.digest() == before, (name, kind, ended.said)
            if not ended.code:
                break  # the stage does not open it
    print(stage, dict(ends))  # shown with -rP
