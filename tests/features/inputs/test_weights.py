"""Files of pretrained weights that backbones name: noted, so that another one is noticed."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_data import SETTINGS

from features.inputs.run import note_weights
from features.inputs.settings import AllParams, check_all_params

GRAPH = {"kind": "frozen", "model": "clip.onnx", "graph": {"output": "e"}}
BACKBONES = {
    "own": {"model": "resnet18", "pretrained": "own.pth"},
    "folder": {"model": "resnet18", "pretrained": "kept"},
    "timm": {"model": "timm/resnet50", "pretrained": True},
    "graph": GRAPH,
    "hub": {"model": "resnet18", "pretrained": "hf-hub:somebody/something"},
    "none": {"model": "resnet18", "pretrained": False},
}
FILES = {
    "own": "own.pth",
    "folder": "kept/resnet18.safetensors",
    "timm": "resnet50.safetensors",
    "graph": "clip.onnx",
}


def make_params(folder: Path, **backbones: Any) -> AllParams:
    changes = {"weights": {"root": str(folder)}, "backbones": backbones or BACKBONES}
    values = yaml.safe_load(SETTINGS)
    images = {**values.get("images", {}), "store_dir": str(folder / "store")}
    return check_all_params(values | changes | {"images": images})


def read_notes(folder: Path) -> dict[str, dict[str, str]]:
    return {path.stem: json.loads(path.read_text()) for path in folder.iterdir()}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """By backbone, each with its name in it."""
    found = {name: tmp_path / file for name, file in FILES.items()}
    for name, path in found.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    return found


@pytest.mark.parametrize("changed", FILES)
def test_another_file_of_the_same_name_changes_the_note_of_its_backbone_alone(
    tmp_path: Path, files: dict[str, Path], changed: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "forgerystack")
    params, notes = make_params(tmp_path), tmp_path / "weights"
    assert note_weights(params, notes)
    before = read_notes(notes)
    assert before == {
        name: {"sha256": hashlib.sha256(name.encode()).hexdigest()} if name in FILES else {}
        for name in BACKBONES
    }
    assert not note_weights(params, notes)
    assert not caplog.messages
    files[changed].write_text("others")
    assert note_weights(params, notes)
    after = read_notes(notes)
    assert [name for name in before if before[name] != after[name]] == [changed]
    (told,) = caplog.messages
    assert f"backbones.{changed} has other pretrained weights" in told


def test_a_named_file_that_is_not_there_counts_as_before_and_one_of_timms_does_not(
    tmp_path: Path, files: dict[str, Path]
) -> None:
    params, notes = make_params(tmp_path), tmp_path / "weights"
    note_weights(params, notes)
    before = read_notes(notes)
    for path in files.values():
        path.unlink()
    note_weights(params, notes)
    assert read_notes(notes) == before | {"timm": {}}  # which timm's own take the place of


def test_there_is_a_note_for_each_backbone_and_no_other(
    tmp_path: Path, files: dict[str, Path]
) -> None:
    notes = tmp_path / "weights"
    note_weights(make_params(tmp_path), notes)
    assert note_weights(make_params(tmp_path, graph=GRAPH), notes)
    assert list(read_notes(notes)) == ["graph"]
