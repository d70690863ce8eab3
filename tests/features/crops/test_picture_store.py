"""Pictures in their own shape: the same pixels from cache and files, and a cache that can break."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from made_data import draw_noise, encode, make_exif, make_manifest

from features.core.files import digest_bytes
from features.core.manifest import Manifest
from features.crops import picture_cache
from features.crops.crop_store import (
    CropStore,
    FittedStore,
    GridStore,
    open_member_store,
    place_boxes,
)
from features.crops.picture_cache import PictureCache
from features.crops.picture_store import FilePictures, RawPictures, open_pictures
from features.errors import ManifestError
from features.pixels import store as square_store
from features.settings.images import Images

SIZES = [(20, 30), (64, 40), (9, 70), (32, 32), (100, 90), (33, 31), (0, 0), (20, 30)]
"""Row 5 lies on its side in its file, row 6 cannot be read, row 7 repeats the first one."""
ROWS = np.array([4, 0, 7, 2, 5, 1, 3])
Stored = tuple[Manifest, Path, Images]


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    root = tmp_path / "data"
    (root / "train").mkdir(parents=True)
    contents = [encode(draw_noise(i, *size)) for i, size in enumerate(SIZES[:5])]
    contents += [encode(draw_noise(5, 31, 33), "JPEG", exif=make_exif(6)), b"broken", contents[0]]
    for i, content in enumerate(contents):
        (root / "train" / f"train{i}.png").write_bytes(content)
    manifest = make_manifest(
        "train",
        [0, 1] * 4,
        height=[size[0] for size in SIZES],
        width=[size[1] for size in SIZES],
        bytes=[len(content) for content in contents],
        sha256=[digest_bytes(content) for content in contents],
        status=["does not decode" if i == 6 else "ok" for i in range(8)],
    )
    return manifest, root, Images(size=32, store="raw", store_dir=str(tmp_path / "store"))


def choose(stored: Stored, **changes: object) -> Stored:
    return stored[0], stored[1], stored[2].model_copy(update=changes)


@pytest.mark.parametrize("equalize", [False, True])
@pytest.mark.parametrize("mode", ["fit", "crop"])
def test_the_cache_and_the_files_give_the_same_pixels(
    stored: Stored, mode: str, equalize: bool
) -> None:
    raw = open_member_store(*choose(stored, equalize=equalize), mode, 24)
    files = open_member_store(*choose(stored, store="none", equalize=equalize), mode, 24)
    assert isinstance(raw.pictures, RawPictures)
    assert isinstance(files.pictures, FilePictures)
    squares = raw.gather(ROWS)
    np.testing.assert_array_equal(files.gather(ROWS), squares)
    np.testing.assert_array_equal(squares[1], squares[2])
    for kind in (raw, files):
        found = pickle.loads(pickle.dumps(kind.select(ROWS)))
        np.testing.assert_array_equal(found.gather(np.array([3, 0])), squares[[3, 0]])
        with pytest.raises(ValueError, match="cannot be read"):
            kind.gather(np.array([0, 6]))


def test_crops_are_the_pictures_own_pixels(stored: Stored) -> None:
    store = open_member_store(*stored, "crop", 24)
    assert isinstance(store, CropStore)
    whole = np.asarray(draw_noise(4, 100, 90))
    corners = np.array([[0, 0], [76, 66], [10, 5]], np.int32)
    for square, (top, left) in zip(store.cut(np.full(3, 4), corners), corners, strict=True):
        np.testing.assert_array_equal(square, whole[top : top + 24, left : left + 24])
    small = np.asarray(draw_noise(2, 9, 70))
    wanted = np.pad(small, ((8, 7), (0, 0), (0, 0)), mode="reflect")[:, 23:47]
    np.testing.assert_array_equal(store.gather(np.array([2]))[0], wanted)


def test_a_grid_names_the_squares_of_each_row(stored: Stored) -> None:
    store = GridStore(open_pictures(*stored, None), 32, 9)
    grid = store.list_squares(np.array([4, 2, 3]))
    assert grid.counts.tolist() == store.count_squares(np.array([4, 2, 3])).tolist() == [9, 3, 1]
    assert grid.row_ids.tolist() == [4] * 9 + [2] * 3 + [3]
    assert len(store.list_squares(np.empty(0, np.int64)).corners) == 0
    whole = np.asarray(draw_noise(4, 100, 90))
    np.testing.assert_array_equal(store.cut(*grid[:2])[8], whole[67:99, 58:])


def test_fitted_pictures_keep_their_aspect_and_are_mirrored(stored: Stored) -> None:
    store = open_member_store(*stored, "fit", 24)
    assert type(store) is FittedStore
    assert store.size == 32
    assert store.pictures.sizes.tolist() == [
        [21, 32], [32, 20], [4, 32], [32, 32], [32, 29], [32, 30], [0, 0], [21, 32]
    ]  # fmt: skip
    square = store.gather(np.array([1]))[0]
    np.testing.assert_array_equal(square[:, :6], square[:, 12:6:-1])
    np.testing.assert_array_equal(square[:, 26:], square[:, 24:18:-1])
    as_it_is = store.gather(np.array([3]))[0]
    np.testing.assert_array_equal(as_it_is, np.asarray(draw_noise(3, 32, 32)))


def test_boxes_of_pictures_are_placed_in_their_squares(stored: Stored) -> None:
    rows = np.array([4, 1])  # 100 x 90 and 64 x 40 pixels
    boxes = np.array([[0.5, 0.4, 0.2, 0.1], [0.25, 0.25, 0.5, 0.5]])
    fitted = open_member_store(*stored, "fit", 24)  # 32 x 29 and 32 x 20 in 32 x 32
    wanted = boxes * [[29, 32, 29, 32], [20, 32, 20, 32]] / 32 + [
        [1 / 16, 0, 0, 0],
        [6 / 32, 0, 0, 0],
    ]
    np.testing.assert_allclose(place_boxes(fitted, rows, boxes), wanted)

    crops = open_member_store(*stored, "crop", 24)
    corners = np.array([[38, 40], [20, 10]], np.int32)
    found = place_boxes(crops, rows, boxes, corners)
    np.testing.assert_allclose(found[0], [5 / 24, 2 / 24, 18 / 24, 10 / 24])
    assert np.isnan(found[1]).all()  # 20 x 32 pixels are larger than the square
    far = place_boxes(crops, rows[:1], boxes[:1], np.array([[0, 0]], np.int32))
    assert np.isnan(far).all()
    squares = open_member_store(*stored, "square", 24)
    np.testing.assert_array_equal(place_boxes(squares, rows, boxes), boxes)
    assert np.isnan(place_boxes(fitted, rows, np.full((2, 4), np.nan))).all()


def test_a_content_is_decoded_once_and_what_is_there_is_left_alone(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_pictures(*stored, None)
    known = (20 * 30 + 64 * 40 + 9 * 70 + 32 * 32 + 100 * 90 + 33 * 31) * 3
    path = PictureCache(stored[2], None).pictures.locate(0).path
    assert path.stat().st_size == known
    monkeypatch.setattr(picture_cache, "write_block", lambda *_: 1 / 0)
    usage = shutil.disk_usage("/")._replace(free=0)
    monkeypatch.setattr(square_store.shutil, "disk_usage", lambda _: usage)
    assert isinstance(open_pictures(*choose(stored, store="auto"), None), RawPictures)


def test_auto_looks_at_the_free_disk(
    stored: Stored, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    usage = shutil.disk_usage("/")._replace(free=80_000)  # 44 kB are needed
    monkeypatch.setattr(square_store.shutil, "disk_usage", lambda _: usage)
    with caplog.at_level("INFO", "forgerystack"):
        assert isinstance(open_pictures(*choose(stored, store="auto"), None), FilePictures)
    assert "6 to decode" in caplog.text


@pytest.mark.fault(
    "a changed byte in the cache of native pictures",
    "goes on: that block is decoded again",
    "Damaged and foreign files",
)
def test_a_changed_byte_is_decoded_again(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_cache, "BLOCK", 2)
    wanted = open_member_store(*stored, "crop", 24).gather(ROWS)
    path = PictureCache(stored[2], None).pictures.locate(0).path
    content = bytearray(path.read_bytes())
    for place in (5, len(content) - 5):
        content[place] ^= 1
        path.write_bytes(content)
        found = open_member_store(*stored, "crop", 24)
        np.testing.assert_array_equal(found.gather(ROWS), wanted)
        content = bytearray(path.read_bytes())
    path.write_bytes(content[: len(content) // 2])
    np.testing.assert_array_equal(open_member_store(*stored, "crop", 24).gather(ROWS), wanted)


def test_a_run_that_broke_off_goes_on_after_its_last_block(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_write, written = picture_cache.write_block, []

    def write(root: Path, block: picture_cache.PictureBlock, *how: object) -> object:
        written.extend(block.paths)
        if len(written) == 5:
            raise KeyboardInterrupt
        return really_write(root, block, *how)

    monkeypatch.setattr(picture_cache, "BLOCK", 1)
    monkeypatch.setattr(picture_cache, "write_block", write)
    import joblib

    with joblib.parallel_config(backend="sequential"), pytest.raises(KeyboardInterrupt):
        open_pictures(*stored, None)
    done, written = set(written[:4]), ["", "", "", "", "", ""]
    found = open_member_store(*stored, "crop", 24)
    assert done.isdisjoint(written)
    assert len(set(written)) == 3
    files = open_member_store(*choose(stored, store="none"), "crop", 24)
    np.testing.assert_array_equal(found.gather(ROWS), files.gather(ROWS))


@pytest.mark.parametrize("store", ["raw", "none"])
def test_a_file_that_changed_since_prepare_is_named(stored: Stored, store: str) -> None:
    path = stored[1] / "train" / "train4.png"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ManifestError, match=r"train4\.png"):
        open_member_store(*choose(stored, store=store), "crop", 24).gather(ROWS)


def test_a_manifest_without_rows_has_a_store_without_pictures(stored: Stored) -> None:
    empty = make_manifest("test", [])
    assert len(open_member_store(empty, *stored[1:], "crop", 24)) == 0
    assert len(open_member_store(empty, *stored[1:], "fit", 24)) == 0
