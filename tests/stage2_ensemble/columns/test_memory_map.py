"""Memory-mapped embeddings are read without keeping their pages."""

import re
from pathlib import Path

import numpy as np
import pytest

from stage2_ensemble.columns.memory_map import copy_rows, release_pages
from stage2_ensemble.columns.projection import Projection, apply_all

ROWS, WIDTH = 80_000, 256
STATUS = Path("/proc/self/status")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """41 MB."""
    path = tmp_path_factory.mktemp("mapped") / "embeddings.npy"
    draws = np.random.default_rng(0).integers(-99, 99, (1000, WIDTH))
    np.save(path, np.tile(draws, (ROWS // 1000, 1)).astype(np.float16))
    return path


def measure_mapped() -> float:
    """Megabytes of files that lie in this process."""
    return int(re.search(r"RssFile:\s+(\d+) kB", STATUS.read_text())[1]) / 1024


@pytest.mark.skipif(not STATUS.exists(), reason="only Linux tells")
@pytest.mark.parametrize("work", ["fit", "apply", "take"])
def test_no_page_stays(path, work):
    array = np.load(path, mmap_mode="r")
    projection = Projection(np.zeros(WIDTH, np.float32), np.eye(2, WIDTH, dtype=np.float32))
    before = measure_mapped()
    kept = np.asarray(array).sum(dtype=np.float64)  # to see that pages would be counted
    assert np.isfinite(kept)
    assert measure_mapped() - before > 35
    {
        "fit": lambda: Projection.fit(array, 2, 0),
        "apply": lambda: projection.apply(array),
        "take": lambda: copy_rows(array, np.arange(0, ROWS, 3)),
    }[work]()
    assert measure_mapped() - before < 8


def test_a_mapped_array_gives_the_same_bytes(path):
    mapped = np.load(path, mmap_mode="r")
    array = np.array(mapped)
    fits = [Projection.fit(each, 3, 0) for each in (mapped, array)]
    assert fits[0].components.tobytes() == fits[1].components.tobytes()
    one, two = (apply_all(fits, [each, each[:5000]]) for each in (mapped, array))
    assert [a.tobytes() for a in one] == [b.tobytes() for b in two]
    assert [len(a) for a in one] == [ROWS, 5000]
    rows = np.arange(7, ROWS, 11)
    assert copy_rows(mapped, rows).tobytes() == array[rows].tobytes()
    assert copy_rows(mapped, rows[:0]).shape == (0, WIDTH)


def test_changes_of_a_private_copy_are_kept(path):
    array = np.load(path, mmap_mode="c")
    array[5] = 1
    release_pages(array)
    assert (array[5] == 1).all()
