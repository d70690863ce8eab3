import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.train_params import Sampling
from stage1_cnn.samplers import build_batches

LABELS = np.array([0] * 20 + [1] * 83)


def draw(sampling, steps, labels=LABELS, batch_size=8, seed=0):
    batches = build_batches(labels, sampling, batch_size, seed)
    return np.concatenate([batches.batch(step) for step in range(steps)])


@pytest.mark.parametrize("steps", [5, 12, 13, 60, 103])
def test_natural_draws_use_up_all_rows_before_any_repeats(steps):
    counts = np.bincount(draw(Sampling(mode="natural"), steps), minlength=len(LABELS))
    assert counts.max() - counts.min() <= 1


def test_balanced_batches_hold_both_classes_alike():
    batches = build_batches(LABELS, Sampling(), 8, seed=0)
    for step in range(50):
        assert LABELS[batches.batch(step)].sum() == 4


@pytest.mark.parametrize(("ratio", "share"), [(1.0, 0.5), (0.25, 0.8), (3.0, 0.25), (0.5, 2 / 3)])
def test_ratio_is_exact_over_many_batches(ratio, share):
    rows = draw(Sampling(real_per_fake=ratio), 300)
    assert LABELS[rows].mean() == pytest.approx(share, abs=1 / len(rows))


def test_no_row_of_a_class_repeats_before_the_class_is_used_up():
    rows = draw(Sampling(), 200)
    for label in (0, 1):
        drawn = rows[LABELS[rows] == label]
        size = (label == LABELS).sum()
        counts = np.bincount(drawn, minlength=len(LABELS))[label == LABELS]
        assert counts.max() - counts.min() <= 1 + 8 // size
        assert all(counts > 0) is bool(len(drawn) >= size)


@given(st.integers(0, 10_000), st.integers(0, 1_000))
def test_batch_is_a_pure_function_of_seed_and_step(step, seed):
    forward = build_batches(LABELS, Sampling(), 8, seed)
    forward.batch(0)
    fresh = build_batches(LABELS, Sampling(), 8, seed)
    np.testing.assert_array_equal(forward.batch(step), fresh.batch(step))


def test_passes_and_seeds_differ():
    rows = draw(Sampling(mode="natural"), 103)
    assert not np.array_equal(rows[:103], rows[103:206])
    assert not np.array_equal(rows, draw(Sampling(mode="natural"), 103, seed=1))


def test_classes_are_mixed_within_a_batch():
    batches = build_batches(LABELS, Sampling(), 8, seed=0)
    firsts = [LABELS[batches.batch(step)[0]] for step in range(40)]
    assert 5 < sum(firsts) < 35


def test_epoch_has_as_many_draws_as_rows():
    assert len(build_batches(LABELS, Sampling(), 8, seed=0)) == 103 // 8
    assert len(build_batches(LABELS, Sampling(), 500, seed=0)) == 1
