"""Faces in `prepare`: rows in place of pictures, or beside them. The detector is a stand-in."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_data import encode, prepare_params, write_table
from PIL import Image
from video_files import draw_frames, write_video

from features.core.manifest import ROLES, Manifest, Role, read_manifest
from features.errors import PictureError
from features.pixels.decoding import make_square
from features.pixels.store import open_store
from features.prepare import face_rows
from features.prepare.run import run
from features.prepare.verify import verify_data
from features.settings.data import PrepareParams

pytestmark = pytest.mark.usefixtures("one_process")
SIDE = 64
looked: list[tuple[int, int]] = []


class RedSquares:
    """Finds bright red squares of 20 pixels, from left to right."""

    def detect(self, pixels: np.ndarray) -> np.ndarray:
        looked.append(pixels.shape[:2])
        red = (pixels[..., 0] > 200) & (pixels[..., 1] < 60)
        starts = np.flatnonzero(np.diff(red.any(0).astype(int), prepend=0) == 1)
        tops = [np.flatnonzero(red[:, x + 2])[0] for x in starts]
        found = [[x, y, 20, 20, 0.9] for x, y in zip(starts, tops, strict=True)]
        return np.array(found, np.float32).reshape(-1, 5)


@pytest.fixture(autouse=True)
def detector(monkeypatch: pytest.MonkeyPatch) -> None:
    looked.clear()
    monkeypatch.setattr(face_rows, "Detector", RedSquares)


def draw(seed: int, faces: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 180, (SIDE, SIDE, 3), dtype=np.uint8)
    for i in range(faces):
        pixels[20:40, 5 + 30 * i : 25 + 30 * i] = 250, 20, 20
    return Image.fromarray(pixels)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Eight pictures of a face for train, of which one has none; two of two for val and test."""
    root = tmp_path / "data"
    plan = {"trainset": [1] * 7 + [0], "valset": [2, 2], "testset": [2, 1]}
    for seed, (folder, faces) in enumerate(plan.items()):
        (root / folder).mkdir(parents=True)
        names = [f"{i}.png" for i in range(len(faces))]
        for i, name in enumerate(names):
            (root / folder / name).write_bytes(encode(draw(100 * seed + i, faces[i])))
        if folder == "testset":
            write_table(root / "testset_nolabel.txt", ["img_name"], [[name] for name in names])
        else:
            rows = [(name, i % 2) for i, name in enumerate(names)]
            write_table(root / f"{folder}_label.txt", ["img_name", "target"], rows)
    return root


def set_up(root: Path, **images: Any) -> PrepareParams:
    return prepare_params(root, images={"faces": "crop", "face_margin": 0.1, **images})


def prepare(params: PrepareParams, out: Path) -> dict[Role, Manifest]:
    run(params, out)
    return {role: read_manifest(out, role) for role in ROLES}


def test_a_crop_stands_in_place_of_its_picture(data: Path, tmp_path: Path) -> None:
    found = prepare(set_up(data), tmp_path / "out")
    train = found["train"].table
    assert train["img_name"].tolist() == [f"{i}.png#xywh=3,18,24,24" for i in range(7)] + ["7.png"]
    assert train["path"].tolist() == [f"trainset/{name}" for name in train["img_name"]]
    assert train["width"].tolist() == [24] * 7 + [SIDE]
    assert train["unit"].tolist() == [""] * 8
    assert train["face"].tolist() == ["0.08333,0.08333,0.8333,0.8333"] * 7 + [""]
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["no face found"] == {"train": 1, "val": 0, "test": 0}
    text = (tmp_path / "out/summary.md").read_text()
    assert "- train: no face was found in 1 images: taken whole" in text


def test_both_are_rows_of_a_unit(data: Path, tmp_path: Path) -> None:
    val = prepare(set_up(data, faces="both", face_count="all"), tmp_path / "out")["val"]
    first = [name for name in val.table["img_name"] if name.startswith("0")]
    assert first == ["0.png", "0.png#xywh=3,18,24,24", "0.png#xywh=33,18,24,24"]
    assert val.table["unit"].tolist() == ["valset/0.png"] * 3 + ["valset/1.png"] * 3
    assert val.table["group"].nunique() == 2
    np.testing.assert_allclose(val.faces[0], [5 / 64, 20 / 64, 20 / 64, 20 / 64], rtol=1e-3)


@pytest.mark.parametrize("store", ["raw", "none"])
def test_the_store_gives_the_crops(data: Path, tmp_path: Path, store: str) -> None:
    params = set_up(data, store=store)
    train = prepare(params, tmp_path / "out")["train"]
    pixels = open_store(train, data, params.images).gather(np.arange(8))
    whole = np.asarray(draw(3, 1))
    wanted = make_square(np.ascontiguousarray(whole[18:42, 3:27]), params.images)[0]
    np.testing.assert_array_equal(pixels[3], wanted)
    np.testing.assert_array_equal(pixels[7], make_square(np.array(draw(7, 0)), params.images)[0])


def test_a_picture_is_looked_at_once(data: Path, tmp_path: Path) -> None:
    prepare(set_up(data), tmp_path / "out")
    assert len(looked) == 12
    prepare(set_up(data, face_margin=0.5, faces="both"), tmp_path / "again")
    assert len(looked) == 12
    (data / "valset/0.png").write_bytes(encode(draw(999, 1)))
    prepare(set_up(data), tmp_path / "again")
    assert len(looked) == 13


def test_a_damaged_picture_is_quarantined_as_ever(data: Path, tmp_path: Path) -> None:
    (data / "testset/0.png").write_bytes(b"nothing")
    found = prepare(set_up(data), tmp_path / "out")
    assert found["test"].table["img_name"][0] == "0.png"
    assert found["test"].table["status"][0].startswith("none of the formats")
    assert np.isnan(found["test"].faces[0]).all()
    verify_data(set_up(data), tmp_path / "out")


def test_frames_of_videos_have_faces_too(data: Path, tmp_path: Path) -> None:
    frames = draw_frames(5, 6)
    frames[:, 20:40, 10:30] = 255, 0, 0
    write_video(data / "valset/clip.mp4", frames)
    write_table(data / "valset_label.txt", ["img_name", "target"], [("clip.mp4", 0), ("1.png", 1)])
    params = set_up(data)
    params = params.model_copy(update={"data": params.data.model_copy(update={"video_frames": 2})})
    val = prepare(params, tmp_path / "out")["val"].table
    assert val["img_name"].str.fullmatch(r"clip\.mp4#t=0\.(04|16)&xywh=\d+,\d+,24,24").sum() == 2
    assert val["unit"].tolist() == ["valset/clip.mp4"] * 2 + [""]
    assert len(val["sha256"].unique()) == 3


def test_without_a_detector_nothing_is_read(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def miss() -> None:
        raise PictureError("images.faces", ["there is no detector"], "install it")

    monkeypatch.setattr(face_rows, "Detector", miss)
    with pytest.raises(Exception, match="there is no detector") as found:
        run(set_up(data), tmp_path / "out")
    assert str(found.value).count("install it") == 1
