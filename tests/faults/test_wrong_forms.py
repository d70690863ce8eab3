"""A sealed file with a field too few or of another type, as other versions or other programs write
it: an error that names the file."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from features.core.files import read_sealed, write_json, write_sealed
from features.core.sums import write_sums

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]
FILES = {
    "artifacts/members/resnet/0/member.json": "dump",
    "artifacts/dumps/resnet/0/val.json": "evaluate",
    "artifacts/dumps/resnet/0/train.json": "stack",
    "artifacts/forensics/val.json": "evaluate",
    "artifacts/null_model/facts.json": "evaluate",
    "artifacts/perturbed/perturbed.json": "evaluate",
    "artifacts/members/resnet/0/train.sums.json": "evaluate",
    "artifacts/stackers/MANIFEST.json": "label",
    "artifacts/stackers/ensemble.json": "evaluate",
    "artifacts/manifest/prepare.sums.json": "gallery",
    "artifacts/evaluate.sums.json": "report",
    "artifacts/gallery/gallery.json": "report",
    "artifacts/gradcam/gradcam.json": "report",
}
"""By sealed file a stage that reads it."""


UNREAD = {
    "artifacts/null_model/facts.json": {
        *("headline", "auc", "auc_low", "auc_high", "families", "features", "advice", "rows"),
    }
}
"""Fields that no stage reads."""


def list_changes(facts: dict) -> Iterator[tuple[str, dict]]:
    """By field the facts without it, and with another type of it."""
    for name in facts:
        yield name, {key: value for key, value in facts.items() if key != name}
        yield name, {**facts, name: 0 if isinstance(facts[name], str | None) else "0"}


def write(path: Path, facts: dict) -> None:
    """With the right sums."""
    if path.name != "ensemble.json":
        write_sealed(path, facts)
        return
    write_json(path, facts)
    listed = read_sealed(path.with_name("MANIFEST.json"), "stack")["sha256"]
    write_sums(path.with_name("MANIFEST.json"), [path.parent / name for name in listed])


@pytest.mark.fault(
    "a file of another version: whole, but without a field or with another type of it",
    "error that names file and field",
    "Damaged and foreign files",
)
@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_form_is_told_with_its_name(project, name):
    path, stage, before = project.folder / name, FILES[name], project.digest()
    sealed = path.name != "ensemble.json"
    facts = read_sealed(path, stage) if sealed else json.loads(path.read_text())
    for field, changed in list_changes(facts):
        if field in UNREAD.get(name, ()):
            continue
        write(path, changed)
        ended = project.run(stage)
        ended.check_refusal(name, f"its field {field} is ", "dvc repro -f ")
        for damaged in (name, "artifacts/stackers/MANIFEST.json"):
            project.restore_file(damaged)
        assert project.digest() == before, (field, ended.said)
