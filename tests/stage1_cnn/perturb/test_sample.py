"""Which val rows are perturbed."""

import numpy as np
import pytest
from made_data import make_manifest

from stage1_cnn.perturb.sample import draw_sample

LABELS = [int(i % 5 > 0) for i in range(500)]
"""100 reals, 400 fakes."""


def count(val, ids):
    assert (np.diff(ids) > 0).all()
    return np.bincount(val.labels[ids], minlength=2).tolist()


@pytest.mark.parametrize(
    ("rows", "wanted"), [(60, [30, 30]), (61, [30, 31]), (300, [100, 200]), (2, [1, 1])]
)
def test_half_are_fakes_as_far_as_there_are(rows, wanted):
    val = make_manifest("val", LABELS)
    assert count(val, draw_sample(val, rows, 0)) == wanted


@pytest.mark.parametrize("rows", ["all", 500, 9000])
def test_all_rows_can_be_had(rows):
    val = make_manifest("val", LABELS)
    assert count(val, draw_sample(val, rows, 0)) == [100, 400]


def test_the_seed_draws_and_a_smaller_sample_lies_in_a_larger_one():
    val = make_manifest("val", LABELS)
    first = draw_sample(val, 60, 0)
    np.testing.assert_array_equal(draw_sample(val, 60, 0), first)
    assert len(np.intersect1d(draw_sample(val, 60, 1), first)) < 40
    assert set(first) <= set(draw_sample(val, 120, 0))


def test_rows_that_cannot_be_read_or_were_held_out_are_left_aside():
    status = ["ok" if i % 2 else "truncated" for i in range(500)]
    domain = ["held_out" if i % 7 == 0 else "seen" for i in range(500)]
    val = make_manifest("val", LABELS, status=status, domain=domain)
    ids = draw_sample(val, "all", 0)
    wanted = [i for i in range(500) if i % 2 and i % 7]
    assert ids.tolist() == wanted
    assert set(draw_sample(val, 100, 0)) <= set(wanted)


@pytest.mark.parametrize("labels", [[], [1] * 9, [0] * 9])
def test_without_rows_of_both_classes_there_is_no_sample(labels):
    val = make_manifest("val", labels)
    assert len(draw_sample(val, "all", 0)) == len(draw_sample(val, 6, 0)) == 0
