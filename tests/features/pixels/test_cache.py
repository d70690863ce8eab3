"""The cache of image files: what is read again, what survives a kill, what is refused."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_data import draw_noise, encode

from features.errors import WorkerKilledError
from features.pixels import cache as image_cache
from features.pixels import scanning
from features.pixels.cache import ImageCache
from features.pixels.thumbnails import Thumbnails
from features.settings.images import NO_LIMITS, Images, Limits

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten pictures, of which 3 is broken and 5 is missing."""
    root = tmp_path / "data"
    root.mkdir()
    for i in range(10):
        (root / f"{i}.png").write_bytes(encode(draw_noise(i, 20, 30)))
    (root / "3.png").write_bytes(b"<html>")
    (root / "5.png").unlink()
    return root


NAMES = [f"{i}.png" for i in range(10)]


def read(root: Path, names: list[str] = NAMES, pixels: bool = True, **options) -> pd.DataFrame:
    limits = options.pop("limits", NO_LIMITS)
    images = Images(size=16, store_dir=str(root.parent / "store"), **options)
    with ImageCache(images) as cache:
        return cache.scan(root, names, limits, pixels=pixels, title="read")


@pytest.fixture
def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the files that were read."""
    seen: list[str] = []
    really_scan = scanning.scan_file

    def note(root: Path, path: str, *options: object):
        seen.append(path)
        return really_scan(root, path, *options)

    monkeypatch.setattr(scanning, "scan_file", note)
    return seen


def test_facts_come_in_the_order_of_the_paths(folder: Path) -> None:
    names = ["7.png", "3.png", "0.png", "5.png"]
    found = read(folder, names)
    assert found["problem"].str.slice(0, 7).tolist() == ["", "none of", "", "missing"]
    assert found["bytes"].tolist() == [(folder / "7.png").stat().st_size, 0,
                                       (folder / "0.png").stat().st_size, 0]  # fmt: skip
    assert (found["slot"] >= 0).tolist() == [True, False, True, False]


def test_a_known_file_is_not_read_again(folder: Path, count_reads: list[str]) -> None:
    first = read(folder)
    assert sorted(count_reads) == NAMES
    count_reads.clear()
    again = read(folder, [*NAMES[::-1]])
    assert sorted(count_reads) == ["3.png", "5.png"]  # what is broken may be mended
    pd.testing.assert_frame_equal(again[::-1].reset_index(drop=True), first)


def test_a_changed_or_mended_file_is_read_again(folder: Path, count_reads: list[str]) -> None:
    read(folder)
    count_reads.clear()
    (folder / "3.png").write_bytes(encode(draw_noise(33, 20, 30)))
    (folder / "8.png").write_bytes(encode(draw_noise(88, 20, 30)))
    found = read(folder)
    assert sorted(count_reads) == ["3.png", "5.png", "8.png"]
    assert found["problem"].tolist() == [""] * 5 + ["missing"] + [""] * 4
    assert found["slot"][found["slot"] >= 0].is_unique


def test_pixels_are_decoded_once_they_are_wanted(folder: Path, count_reads: list[str]) -> None:
    facts = read(folder, pixels=False)
    assert not list((folder.parent / "store").glob("*/images-*"))
    count_reads.clear()
    again = read(folder, pixels=True)
    assert sorted(count_reads) == NAMES
    pd.testing.assert_frame_equal(again.drop(columns="slot"), facts.drop(columns="slot"))


def test_other_limits_count_for_known_files_too(folder: Path) -> None:
    read(folder)
    found = read(folder, limits=Limits(min_side=25))
    assert found["problem"][0] == "30 x 20 pixels: a side below min_side 25"
    assert (found["problem"] != "").all()
    assert read(folder)["problem"][0] == ""


def test_thumbnails_are_those_of_the_rows(folder: Path) -> None:
    images = Images(size=16, store_dir=str(folder.parent / "store"))
    for i, level in ((0, 30), (1, 200)):
        (folder / f"{i}.png").write_bytes(encode(draw_noise(0, 20, 30).point(lambda _, v=level: v)))
    with ImageCache(images) as cache:
        found = cache.scan(folder, NAMES, NO_LIMITS, pixels=False, title="read")
        slots = found["slot"].to_numpy(np.int64)
        thumbnails = Thumbnails(cache.thumbnails, cache.place_thumbnails(slots))
    means = thumbnails[np.array([1, 0, 1])].mean(axis=(1, 2))
    np.testing.assert_allclose(means, [200, 30, 200], atol=1)


@pytest.mark.usefixtures("one_process")
def test_what_was_read_before_an_error_is_kept(
    folder: Path, count_reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_cache, "BLOCK", 2)
    really_scan = scanning.scan_file

    def fail(root: Path, path: str, *options: object):
        if path == "8.png":
            raise OSError(28, "No space left on device")
        return really_scan(root, path, *options)

    with monkeypatch.context() as patch:
        patch.setattr(scanning, "scan_file", fail)
        with pytest.raises(OSError, match="No space left"):
            read(folder)
    count_reads.clear()
    read(folder)
    assert "0.png" not in count_reads
    assert "8.png" in count_reads


def kill_self(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_processes_give_what_threads_give(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = read(folder)
    folder.parent.joinpath("store").rename(folder.parent / "first")
    monkeypatch.setattr(image_cache, "MANY", 1)
    pd.testing.assert_frame_equal(read(folder), threads)


@pytest.mark.fault(
    "a worker is killed (as by the kernel, out of memory)",
    "error that says so",
    "Numbers and memory",
)
def test_a_killed_worker_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_cache, "MANY", 1)
    monkeypatch.setattr(image_cache, "scan_block", kill_self)
    with pytest.raises(WorkerKilledError, match=r"want of memory.*What was finished is kept"):
        read(folder)


KILLED = """
import os, signal, sys
from pathlib import Path
from features.caching import filling
from features.pixels import cache as image_cache, scanning as scans
image_cache.BLOCK, filling.COMMIT_SECONDS = 2, 0.0
sys.path[:0] = {tests!r}
from test_cache import NAMES, read
really_scan, seen = scans.scan_file, []
def scan(root, path, *options):
    if path == "8.png":
        os.kill(os.getpid(), signal.SIGKILL)
    return really_scan(root, path, *options)
scans.scan_file = scan
import joblib
with joblib.parallel_config(backend="sequential"):
    read(Path({folder!r}))
"""


def test_a_killed_run_goes_on_where_it_was(folder: Path, count_reads: list[str]) -> None:
    tests = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    code = textwrap.dedent(KILLED).format(folder=str(folder), tests=tests)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == -signal.SIGKILL
    found = read(folder)
    assert {"0.png", "1.png"}.isdisjoint(count_reads)
    assert "8.png" in count_reads
    whole = folder.parent / "whole"
    folder.parent.joinpath("store").rename(whole)
    fresh = read(folder)
    pd.testing.assert_frame_equal(found.drop(columns="slot"), fresh.drop(columns="slot"))
