"""All forensic features together: names, finite values, and rows that depend on nothing else."""

import numpy as np
import pytest
from forensic_pictures import list_odd_pictures, take_photos

from features.forensics.batch import Batch
from features.forensics.columns import (
    COLUMNS,
    FAMILIES,
    count_together,
    describe_columns,
    measure_images,
)
from features.null_model.file_facts import FAMILIES as FACTS


def test_every_column_has_a_name_of_its_own_and_a_line() -> None:
    lines = describe_columns()
    assert tuple(lines) == COLUMNS
    assert len(set(COLUMNS)) == len(COLUMNS)
    assert 60 <= len(COLUMNS) <= 100
    assert {name.partition(":")[0] for name in COLUMNS} == set(FAMILIES)
    assert all(10 < len(line) < 100 and "\n" not in line for line in lines.values())


def test_file_facts_are_none_of_the_columns() -> None:
    facts = {name for names in FACTS.values() for name in names}
    assert not facts & {name.partition(":")[2] for name in COLUMNS}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_measures_just_the_columns_that_it_lists(family: str) -> None:
    columns, measure = FAMILIES[family]
    found = measure(Batch(take_photos(32)))
    assert set(found) == set(columns)
    assert {np.shape(values) for values in found.values()} == {(4,)}


@pytest.mark.parametrize("size", [16, 17, 23, 24, 31, 64, 96])
def test_every_value_is_finite_for_every_picture(size: int) -> None:
    for name, picture in list_odd_pictures(size).items():
        with np.errstate(all="raise", under="ignore"):
            found = measure_images(picture[None])
        assert found.shape == (1, len(COLUMNS)), name
        assert np.isfinite(found).all(), name
        assert np.abs(found).max() < 20, name


@pytest.mark.parametrize("size", [16, 96, 128])
def test_a_batch_gives_what_single_pictures_give(size: int) -> None:
    pixels = np.concatenate([take_photos(size), *([p[None] for p in take_photos(size, 8)] * 3)])
    batch = measure_images(pixels)
    assert batch.dtype == np.float32
    single = np.concatenate([measure_images(picture[None]) for picture in pixels])
    np.testing.assert_array_equal(batch, single)
    np.testing.assert_array_equal(measure_images(pixels[::-1])[::-1], batch)


def test_no_picture_gives_no_row() -> None:
    assert measure_images(np.empty((0, 64, 64, 3), np.uint8)).shape == (0, len(COLUMNS))


def test_pictures_that_do_not_lie_in_order_are_the_same() -> None:
    pixels = take_photos(64)
    turned = np.asfortranarray(pixels)
    np.testing.assert_array_equal(measure_images(turned), measure_images(pixels))


def test_large_pictures_are_taken_one_by_one() -> None:
    assert count_together(2048) == 1
    assert count_together(96) > 8
