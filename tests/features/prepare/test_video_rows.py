"""Videos in `prepare`: rows of frames, which stay together and are decoded once."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_data import draw_noise, encode, prepare_params, write_table
from video_files import decode_all, draw_frames, write_video

from features.core.manifest import ROLES, Manifest, Role, read_manifest
from features.errors import ManifestError
from features.pixels import scanning
from features.pixels.decoding import make_square
from features.pixels.store import open_store
from features.prepare.run import run
from features.prepare.verify import verify_data
from features.settings.data import PrepareParams

pytestmark = pytest.mark.usefixtures("one_process")
FRAMES = 4


def write_clips(root: Path) -> Path:
    """Ten videos and two pictures for train and val; three for test, of which two are broken."""
    pytest.importorskip("av")
    for role in ("trainset", "valset", "testset"):
        (root / role).mkdir(parents=True)
    clips = {"trainset": 6, "valset": 2, "testset": 1}
    seed = 0
    for role, count in clips.items():
        for i in range(count):
            suffix = ("mp4", "avi", "mkv")[i % 3]
            write_video(root / role / f"{i}.{suffix}", draw_frames(seed, 12 + i))
            seed += 1
    shutil.copy(root / "trainset/0.mp4", root / "valset/copy.mp4")
    (root / "trainset/photo.png").write_bytes(encode(draw_noise(0, 32, 32)))
    train = [(p.name, i % 2) for i, p in enumerate(sorted((root / "trainset").iterdir()))]
    val = [("0.mp4", 0), ("1.avi", 1), ("copy.mp4", 0)]
    (root / "testset/broken.mp4").write_bytes(b"no video")
    (root / "testset/empty.webm").touch()
    write_table(root / "trainset_label.txt", ["img_name", "target"], train)
    write_table(root / "valset_label.txt", ["img_name", "target"], val)
    test = [["broken.mp4"], ["0.mp4"], ["empty.webm"]]
    write_table(root / "testset_nolabel.txt", ["img_name"], test)
    return root


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    return write_clips(tmp_path / "data")


def set_up(root: Path, **images: Any) -> PrepareParams:
    data = {"video_frames": FRAMES, "max_bad_fraction": 0.5}
    return prepare_params(root, data=data, images=images)


def prepare(params: PrepareParams, out: Path) -> dict[Role, Manifest]:
    run(params, out)
    return {role: read_manifest(out, role) for role in ROLES}


def test_each_frame_is_a_row_of_its_video(clips: Path, tmp_path: Path) -> None:
    found = prepare(set_up(clips), tmp_path / "out")
    val = found["val"].table
    names = [f"0.mp4#t={t}" for t in ("0.04", "0.16", "0.28", "0.4")]
    assert val["img_name"].tolist()[:FRAMES] == names
    assert val["path"].tolist()[:FRAMES] == [f"valset/{name}" for name in names]
    assert val["unit"].tolist()[:FRAMES] == ["valset/0.mp4"] * FRAMES
    assert val["label"].tolist() == [0] * FRAMES + [1] * FRAMES + [0] * FRAMES
    assert set(val["format"]) == {"MPEG4"}
    assert set(val["bytes"]) == {p.stat().st_size for p in (clips / "valset").iterdir()}
    assert val["sha256"].nunique() == len(val)
    train = found["train"].table
    assert train.groupby("unit")["fold"].nunique().max() == 1
    assert train["unit"][train["img_name"] == "photo.png"].tolist() == [""]
    assert train["group"].nunique() == 6  # five videos and the picture


def test_of_a_video_that_val_has_too_no_frame_stays_in_train(clips: Path, tmp_path: Path) -> None:
    """Though only the first half of the two is the same."""
    half = np.concatenate([draw_frames(0, 12)[:6], draw_frames(99, 12)[6:]])
    write_video(clips / "trainset/0.mp4", half)
    found = prepare(set_up(clips), tmp_path / "out")
    assert not found["train"].table["unit"].str.endswith("/0.mp4").any()
    pairs = pd.read_csv(tmp_path / "out/duplicates.csv")
    assert set(pairs["first"].str.partition("#")[0]) == {"trainset/0.mp4"}
    assert set(pairs["second"].str.partition("#")[0]) == {"valset/copy.mp4"}
    assert 0 < len(pairs) < FRAMES


def test_what_is_no_video_keeps_its_row_in_test_with_its_problem(
    clips: Path, tmp_path: Path
) -> None:
    test = prepare(set_up(clips), tmp_path / "out")["test"].table
    status = dict(zip(test["img_name"], test["status"], strict=True))
    assert "no video that can be read" in status.pop("broken.mp4")
    assert status.pop("empty.webm") == "empty file"
    assert set(status.values()) == {"ok"}
    assert test["img_name"].str.partition("#")[0].drop_duplicates().tolist() == [
        "broken.mp4", "0.mp4", "empty.webm"
    ]  # fmt: skip
    assert test["unit"].tolist() == [f"testset/{n.partition('#')[0]}" for n in test["img_name"]]


def test_endless_videos_are_quarantined_once(clips: Path, tmp_path: Path) -> None:
    params = set_up(clips)
    params = params.model_copy(
        update={"data": params.data.model_copy(update={"max_video_frames": 16})}
    )
    prepare(params, tmp_path / "out")
    listed = pd.read_csv(tmp_path / "out/quarantine.csv")
    problem = "a video of more frames than max_video_frames 16"
    assert listed["img_name"][listed["status"] == problem].tolist() == ["5.mkv"]


def test_nothing_is_decoded_twice(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, opened = scanning.read_frames, []

    def note(file: Any, times: list[float], limits: Any) -> Any:
        opened.append(len(times))
        return read(file, times, limits)

    monkeypatch.setattr(scanning, "read_frames", note)
    params = set_up(clips, store="raw")
    found = prepare(params, tmp_path / "out")
    assert opened == [FRAMES] * 10
    prepare(params, tmp_path / "again")
    open_store(found["val"], clips, params.images)
    assert len(opened) == 10
    for name in ("train.parquet", "summary.md"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize("store", ["raw", "none"])
def test_the_store_gives_the_frames(clips: Path, tmp_path: Path, store: str) -> None:
    params = set_up(clips, store=store)
    val = prepare(params, tmp_path / "out")["val"]
    pixels = open_store(val, clips, params.images).gather(np.arange(FRAMES))
    whole = decode_all(clips / "valset/0.mp4")
    for i, square in enumerate(pixels):
        frame = whole[int((i + 0.5) * len(whole) / FRAMES)]
        np.testing.assert_array_equal(square, make_square(frame, params.images)[0])


def test_a_video_that_changed_is_noticed(clips: Path, tmp_path: Path) -> None:
    params = set_up(clips)
    prepare(params, tmp_path / "out")
    verify_data(params, tmp_path / "out")
    content = (clips / "valset/1.avi").read_bytes()
    (clips / "valset/1.avi").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ManifestError, match=r"1\.avi#t=.*has changed") as found:
        verify_data(params, tmp_path / "out")
    assert found.value.count == FRAMES


def test_a_class_folder_may_hold_videos(tmp_path: Path) -> None:
    pytest.importorskip("av")
    for seed, place in enumerate(["real", "real", "real", "fake", "fake", "fake"]):
        (tmp_path / "data/train" / place).mkdir(parents=True, exist_ok=True)
        write_video(tmp_path / f"data/train/{place}/{seed}.mp4", draw_frames(seed, 8))
    data = {"train": {"labels": None, "images": "train"}, "val": None, "test": None,
            "video_frames": 2}  # fmt: skip
    params = prepare_params(tmp_path / "data", data=data, split={"val_fraction": 0.3})
    found = prepare(params, tmp_path / "out")
    assert len(found["train"]) + len(found["val"]) == 12
    assert set(found["val"].table.groupby("unit").size()) == {2}
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["train"]["units"] + summary["val"]["units"] == 6


def test_without_pyav_videos_are_a_problem_beside_others(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    write_table(clips / "valset_label.txt", ["img_name", "target"], [("0.mp4", "maybe")])
    with pytest.raises(ManifestError) as found:
        run(set_up(clips), tmp_path / "out")
    text = str(found.value)
    assert text.count("pip install 'forgerystack[video]'") == 1
    assert "'maybe'" in text


def test_a_file_that_is_called_as_a_frame_is_refused(clips: Path, tmp_path: Path) -> None:
    (clips / "valset/0.mp4").rename(clips / "valset/a#t=1")
    write_table(clips / "valset_label.txt", ["img_name", "target"], [("a#t=1", 0)])
    with pytest.raises(ManifestError, match="a#t=1: frames of videos are called so"):
        run(set_up(clips), tmp_path / "out")
