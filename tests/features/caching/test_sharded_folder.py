"""Caches of decoded pictures over several shards: what is opened, what damage and a kill cost."""

import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import pytest
from made_data import draw_noise, encode, make_manifest

from features.caching import shard_files, sharded_folder
from features.caching.shard_files import ShardFiles, ShardReader, place_block, place_items
from features.core import manifest as manifests
from features.core.files import digest_bytes
from features.core.manifest import Manifest, read_manifest, write_manifest
from features.crops import picture_cache
from features.crops.crop_store import open_member_store
from features.crops.picture_cache import PictureCache
from features.errors import IntegrityError
from features.pixels import cache as image_cache
from features.pixels import scanning
from features.pixels import store as square_store
from features.pixels.cache import ImageCache
from features.pixels.store import ImageStore
from features.pixels.thumbnails import Thumbnails
from features.settings.images import NO_LIMITS, Images, Mode

COUNT, SIDE = 12, 16
SHARD = 4 * SIDE * SIDE * 3
"""Four pictures in a shard, in blocks of two."""
KINDS: tuple[Mode, ...] = ("square", "crop")


class Kept(NamedTuple):
    """Pictures, and how they are kept."""

    manifest: Manifest
    root: Path
    images: Images
    mode: Mode

    def open(self, **changes: object) -> ImageStore:
        images = self.images.model_copy(update=changes)
        return open_member_store(self.manifest, self.root, images, self.mode, SIDE)

    def list_shards(self) -> list[Path]:
        cache = ImageCache(self.images) if self.mode == "square" else None
        files = cache.pixels if cache else PictureCache(self.images, None).pictures
        return files.list_paths()


@pytest.fixture(params=KINDS)
def kept(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    for module in (image_cache, square_store, picture_cache):
        monkeypatch.setattr(module, "BLOCK", 2)
    monkeypatch.setattr(square_store, "SAMPLED_BLOCKS", COUNT)
    monkeypatch.setattr(shard_files, "SHARD_BYTES", SHARD)
    contents = [encode(draw_noise(i, SIDE, SIDE)) for i in range(COUNT)]
    (tmp_path / "train").mkdir()
    for i, content in enumerate(contents):
        (tmp_path / "train" / f"train{i}.png").write_bytes(content)
    manifest = make_manifest(
        "train",
        [0, 1] * (COUNT // 2),
        height=[SIDE] * COUNT,
        width=[SIDE] * COUNT,
        bytes=[len(content) for content in contents],
        sha256=[digest_bytes(content) for content in contents],
    )
    images = Images(size=SIDE, store="raw", store_dir=str(tmp_path / "store"))
    return Kept(manifest, tmp_path, images, request.param)


@pytest.fixture
def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the pictures that were decoded."""
    seen: list[str] = []

    def note(module: object, name: str, place: Callable[..., list[str]]) -> None:
        really = getattr(module, name)

        def work(*how: object) -> object:
            seen.extend(place(*how))
            return really(*how)

        monkeypatch.setattr(module, name, work)

    note(image_cache, "scan_block", lambda root, paths, *how: paths)
    note(picture_cache, "write_block", lambda root, block, *how: block.paths)
    return seen


ROWS = np.array([11, 0, 5, 5, 2, 8])


def test_shards_are_bounded_and_hold_the_pixels_of_the_files(kept: Kept) -> None:
    found = kept.open()
    shards = kept.list_shards()
    assert [path.name[-9:] for path in shards] == ["00000.bin", "00001.bin", "00002.bin"]
    assert all(path.stat().st_size == SHARD for path in shards)
    wanted = kept.open(store="none").gather(ROWS)
    np.testing.assert_array_equal(found.gather(ROWS), wanted)
    there = pickle.loads(pickle.dumps(found.select(ROWS)))
    np.testing.assert_array_equal(there.gather(np.arange(len(ROWS))), wanted)


def test_only_the_shards_of_the_rows_that_are_read_are_opened(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, opened = kept.open(), []
    really_map = shard_files._map_shard

    def note(files: ShardFiles, number: int) -> object:
        opened.append(number)
        return really_map(files, number)

    monkeypatch.setattr(shard_files, "_map_shard", note)
    handed = pickle.loads(pickle.dumps(found))
    handed.gather(np.array([4, 7, 5]))
    handed.gather(np.array([6]))
    assert opened == [1]


def test_more_shards_than_stay_open_are_read(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_files, "OPEN", 1)
    wanted = kept.open(store="none").gather(ROWS)
    np.testing.assert_array_equal(kept.open().gather(ROWS), wanted)


@pytest.mark.parametrize("kind", ["flip", "cut", "gone"])
def test_what_is_damaged_is_named_by_its_shard_and_alone_made_again(
    kept: Kept, kind: str, count_decoded: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    wanted = kept.open().gather(ROWS)
    path, count = kept.list_shards()[1], {"flip": 2, "cut": 2, "gone": 4}[kind]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()
    if kind != "gone":
        path.write_bytes(content if kind == "flip" else content[:-1])
    count_decoded.clear()
    with caplog.at_level("INFO", "forgerystack"):
        found = kept.open()
    assert f"{count // 2} damaged blocks in {path}" in caplog.text
    assert sorted(count_decoded) == [f"train/train{i}.png" for i in range(8 - count, 8)]
    np.testing.assert_array_equal(found.gather(ROWS), wanted)


def test_a_shard_that_is_cut_while_it_is_used_is_named(kept: Kept) -> None:
    found = kept.open()
    path = kept.list_shards()[2]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match=re.escape(str(path))):
        found.gather(np.array([0, 11]))


def test_a_run_that_was_killed_keeps_what_was_finished(
    kept: Kept, count_decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module, name = {"square": (image_cache, "scan_block"), "crop": (picture_cache, "write_block")}[
        kept.mode
    ]
    really = getattr(module, name)

    def break_off(*how: object) -> object:
        if len(count_decoded) == 10:
            raise KeyboardInterrupt
        return really(*how)

    with monkeypatch.context() as patch, joblib.parallel_config(backend="sequential"):
        patch.setattr(module, name, break_off)
        with pytest.raises(KeyboardInterrupt):
            kept.open()
    count_decoded.clear()
    np.testing.assert_array_equal(kept.open().gather(ROWS), kept.open(store="none").gather(ROWS))
    assert sorted(count_decoded) == ["train/train10.png", "train/train11.png"]


def test_processes_settle_what_decodes_before_their_first_task_ends(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[float] = []
    for module in (scanning, picture_cache):
        monkeypatch.setattr(module, "settle_kernels", told.append)
    with joblib.parallel_config(backend="sequential"):
        kept.open()
        assert not told  # threads of this process
        for module in (image_cache, picture_cache):
            monkeypatch.setattr(module, "MANY", COUNT)
            monkeypatch.setattr(module, "count_workers", lambda: 3)
        kept.open(store_dir=str(kept.root / "other"))
    assert len(told) == COUNT // 2  # blocks: each may be the first of a process
    files = sum(path.stat().st_size for path in (kept.root / "train").iterdir())
    pixels = COUNT * SIDE**2 * 3
    wanted = files if kept.mode == "square" else pixels / picture_cache.PIXELS_OF_BYTE
    assert told == pytest.approx([wanted / 3] * len(told))


def test_a_commit_flushes_no_shard_but_those_that_were_written(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.open()
    *_, last = kept.list_shards()
    last.unlink()
    flushed: set[str] = set()
    monkeypatch.setattr(
        sharded_folder.os,
        "fsync",
        lambda number: flushed.add(os.readlink(f"/proc/self/fd/{number}")),
    )
    kept.open()
    names = {Path(path).name for path in flushed if path.endswith(".bin")}
    wanted = {
        "square": {"images-00002.bin", "thumbnails-00004.bin", "thumbnails-00005.bin"},
        "crop": {"pictures-00002.bin"},
    }
    assert names == wanted[kept.mode]


def test_no_more_of_a_manifest_is_read_than_pictures_need(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifests, "ROW_GROUP", 4)
    write_manifest(kept.manifest.table, "train", tmp_path / "train.parquet")
    stored = read_manifest(tmp_path, "train")
    wanted = kept.open(store="none").gather(ROWS)
    for store in ("raw", "raw", "none"):
        found = kept._replace(manifest=stored).open(store=store)
        np.testing.assert_array_equal(found.gather(ROWS), wanted)
    assert "table" not in vars(stored)


def test_thumbnails_lie_in_shards_too(kept: Kept) -> None:
    with ImageCache(kept.images) as cache:
        paths = list(kept.manifest.table["path"])
        slots = cache.scan(kept.root, paths, NO_LIMITS, False, "read")["slot"].to_numpy(np.int64)
        thumbnails = Thumbnails(cache.thumbnails, cache.place_thumbnails(slots))
        assert len(cache.thumbnails.list_paths()) == COUNT // 2
    whole = thumbnails[np.arange(COUNT)]
    np.testing.assert_array_equal(thumbnails[ROWS], whole[ROWS])
    assert len(np.unique(whole.reshape(COUNT, -1), axis=0)) == COUNT


def test_nothing_that_is_written_together_crosses_into_another_shard(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shard_files, "SHARD_BYTES", 100)
    places = place_items(np.array([0, 1, 2, 3, 4, 5, 8, -1]), 20, 2)
    assert places.tolist() == [0, 20, 40, 60, 100, 120, 200, -1]
    assert [place_block(*case) for case in ((0, 100), (40, 60), (41, 60), (100, 9))] == [
        0, 40, 100, 100
    ]  # fmt: skip
    files = ShardFiles(tmp_path, "a")
    for place in (95, 300):
        with files.locate(place).open() as file:
            file.write(b"12345")
    assert [path.name for path in files.list_paths()] == ["a-00000.bin", "a-00003.bin"]
    found = ShardReader(files).read(np.array([302, 95]), np.array([3, 5]))
    assert [part.tobytes() for part in found] == [b"345", b"12345"]
    assert files.locate(96).compute_checksum(5) is None
    assert files.locate(100).compute_checksum(5) is None
