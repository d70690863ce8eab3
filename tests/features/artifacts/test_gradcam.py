"""Grad-CAM on the disk: comes back as it was; other rows, other pictures and damage are told."""

from pathlib import Path

import numpy as np
import pytest

from features.artifacts.gradcam import GradCam, read_gradcam, write_gradcam
from features.core.files import read_sealed
from features.errors import IntegrityError, MissingArtifactError, StaleArtifactError

ROWS = np.array([1, 4, 7], np.int64)
VAL = "a" * 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Maps of two backbones, one of which has none."""
    maps = np.arange(3 * 2 * 4 * 4, dtype=np.uint8).reshape(3, 2, 4, 4)
    layers = {"cnn": "forward_features", "branches": None}
    members = {"cnn": "b" * 64, "branches": "c" * 64}
    write_gradcam(GradCam(ROWS, {"cnn": maps}, layers, members), VAL, tmp_path)
    return tmp_path


def test_maps_come_back_and_a_backbone_without_any_is_left_out(folder: Path) -> None:
    found = read_gradcam(folder, VAL, ROWS)
    assert list(found.maps) == ["cnn"]
    assert found.maps["cnn"].shape == (3, 2, 4, 4)
    assert found.maps["cnn"].ravel().tolist() == list(range(96))
    assert found.layers == {"cnn": "forward_features", "branches": None}
    assert found.members == {"cnn": "b" * 64, "branches": "c" * 64}
    assert not np.load(folder / "branches.npy").any()


def test_maps_of_another_val_are_stale(folder: Path) -> None:
    with pytest.raises(StaleArtifactError, match="dvc repro explain"):
        read_gradcam(folder, "d" * 64, ROWS)


@pytest.mark.parametrize("rows", [[1, 4], [1, 4, 8], []])
def test_maps_of_other_rows_are_stale(folder: Path, rows: list[int]) -> None:
    with pytest.raises(StaleArtifactError, match=f"3 rows, but another one, of {len(rows)}"):
        read_gradcam(folder, VAL, np.array(rows, np.int64))


@pytest.mark.parametrize("name", ["gradcam.json", "cnn.npy"])
def test_a_missing_file_names_the_stage_that_makes_it(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(MissingArtifactError, match=f"{name} is missing. Stage `explain`"):
        read_gradcam(folder, VAL, ROWS)


@pytest.mark.parametrize("name", ["gradcam.json", "cnn.npy", "branches.npy"])
def test_a_changed_file_is_damaged(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[-9] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(IntegrityError, match=f"{name} is damaged"):
        read_gradcam(folder, VAL, ROWS)


def test_no_rows_are_written_and_read(tmp_path: Path) -> None:
    none = np.empty(0, np.int64)
    empty = GradCam(none, {"cnn": np.empty((0, 2, 3, 3), np.uint8)}, {"cnn": "x"}, {"cnn": "b"})
    write_gradcam(empty, VAL, tmp_path)
    assert read_gradcam(tmp_path, VAL, none).maps["cnn"].shape[:2] == (0, 2)
    assert read_sealed(tmp_path / "gradcam.json", "explain")["row_ids"] == []
