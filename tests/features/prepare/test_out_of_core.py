"""What memory does not hold: files without a name, and parts that are sorted alone."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mounts import make_disk, needs_mounts

from features.prepare import out_of_core
from features.prepare.near_duplicates import link_near
from features.prepare.out_of_core import allocate, split_by_value
from features.splits.groups import build_groups


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    values=st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 3), max_size=60),
    shift=st.sampled_from([0, 39]),
    part=st.sampled_from([1, 4, 1000]),
)
def test_each_position_is_in_one_part_and_equal_values_share_it(
    values: list[int], shift: int, part: int
) -> None:
    column = np.array(values, np.uint64) >> np.uint64(shift)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(out_of_core, "PART", part)
        parts = list(split_by_value(lambda block: column[block], len(column), None))
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(column)))
    assert all((np.diff(positions) > 0).all() for positions in parts)
    held = [set(column[positions].tolist()) for positions in parts]
    assert sum(map(len, held)) == len(set(column.tolist()))


def test_parts_of_even_values_are_about_as_large_as_they_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(out_of_core, "PART", 1000)
    masked = np.random.default_rng(0).integers(0, 2**25, 50_000, np.uint64) << np.uint64(20)
    sizes = [len(part) for part in split_by_value(lambda block: masked[block], 50_000, None)]
    assert max(sizes) < 1500


def test_large_arrays_leave_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(out_of_core, "LARGE", 100)
    array = allocate((4, 100), np.uint64, tmp_path)
    array[:] = 7
    assert isinstance(array, np.memmap)
    assert not isinstance(allocate((4, 3), np.uint64, tmp_path), np.memmap)
    assert not isinstance(allocate((4, 100), np.uint64, None), np.memmap)
    assert list(tmp_path.iterdir()) == []
    assert (array == 7).all()


@needs_mounts
@pytest.mark.fault(
    "the search for near-duplicates outgrows its disk", "error", "Disks, signals, kills"
)
def test_a_disk_that_is_too_small_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(out_of_core, "LARGE", 0)
    child = os.fork()
    if not child:
        try:
            make_disk(str(tmp_path), 300)
            allocate((500_000,), np.uint8, tmp_path)[:] = 7
        except OSError as error:
            os._exit(0 if error.filename == str(tmp_path) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_pictures_are_joined_as_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    shown = rng.integers(0, 300, 1000)
    bits = rng.random((300, 256))[shown] < 0.5
    hashes = np.packbits(bits ^ (rng.random(bits.shape) < 0.02), axis=1)
    textures = rng.integers(0, 256, (300, 32, 32), dtype=np.uint8)[shown]
    plain = link_near(hashes, textures)
    monkeypatch.setattr(out_of_core, "LARGE", 0)
    monkeypatch.setattr(out_of_core, "PART", 64)
    found = link_near(hashes, textures, scratch=tmp_path)
    assert len(found.rows) == len(plain.rows) > 500
    pictures = [build_groups(pd.DataFrame(index=range(1000)), own.rows) for own in (found, plain)]
    np.testing.assert_array_equal(*pictures)
    assert (found.distance == np.bitwise_count(np.bitwise_xor(*hashes[found.rows.T])).sum(1)).all()
