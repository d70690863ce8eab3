import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import ConfigError
from features.settings.learning import Sampling
from stage1_cnn.sampling.samplers import Candidates, build_batches, weigh_draws
from stage1_cnn.scoring.processes import slice_for_rank

REALS, FAKES = 20, 83
LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1], [REALS, FAKES])).astype(np.int8)
GENERATORS = np.where(LABELS == 0, 0, np.arange(len(LABELS)) ** 2 % 7 + 5)
WEIGHTS = np.random.default_rng(1).uniform(0.1, 5, len(LABELS))
GROUPS = np.arange(len(LABELS)) % 41
CANDIDATES = Candidates(LABELS, WEIGHTS, GENERATORS, GROUPS)

NATURAL, BALANCED = Sampling(mode="natural"), Sampling()
UNDERSAMPLE = Sampling(mode="undersample")
COLUMN = Sampling(mode="weighted")
GENERATOR = Sampling(mode="weighted", weights="generator")
PAIRS = Sampling(pairs=True)
FEW_PAIRS = Sampling(mode="undersample", real_per_fake=0.3, pairs=True)
ALL = [
    NATURAL,
    BALANCED,
    UNDERSAMPLE,
    COLUMN,
    GENERATOR,
    PAIRS,
    FEW_PAIRS,
    Sampling(real_per_fake=0.3),
]
RATIOS = [
    (1.0, Fraction(1, 2)),
    (0.25, Fraction(1, 5)),
    (1 / 3, Fraction(1, 4)),
    (3.0, Fraction(3, 4)),
]


def build(sampling=BALANCED, batch_size=8, seed=0, candidates=CANDIDATES):
    return build_batches(candidates, sampling, batch_size, seed)


def draw(sampling, steps, batch_size=8, seed=0, candidates=CANDIDATES):
    batches = build(sampling, batch_size, seed, candidates)
    return np.concatenate([batches.batch(step) for step in range(steps)])


def count(rows, size=len(LABELS)):
    return np.bincount(rows, minlength=size)


@pytest.mark.parametrize("sampling", ALL)
def test_batches_are_int64_positions_of_the_asked_size(sampling):
    rows = build(sampling).batch(3)
    assert rows.shape == (8,)
    assert rows.dtype == np.int64
    assert 0 <= rows.min() <= rows.max() < len(LABELS)


@pytest.mark.parametrize("sampling", ALL)
@settings(max_examples=25, deadline=None)
@given(step=st.integers(0, 3_000), earlier=st.integers(0, 300), seed=st.integers(0, 2**40))
def test_batch_is_a_pure_function_of_seed_and_step(sampling, step, earlier, seed):
    used = build(sampling, seed=seed)
    used.batch(earlier)
    np.testing.assert_array_equal(used.batch(step), build(sampling, seed=seed).batch(step))


@pytest.mark.parametrize("sampling", ALL)
def test_seeds_and_epochs_differ(sampling):
    epoch = len(build(sampling))
    rows = draw(sampling, 2 * epoch)
    half = len(rows) // 2
    assert not np.array_equal(rows[:half], rows[half:])
    assert not np.array_equal(rows, draw(sampling, 2 * epoch, seed=1))


def test_changing_a_batch_in_place_does_not_change_the_sequence():
    batches = build()
    batches.batch(0)[:] = -1
    assert batches.batch(0).min() >= 0


def test_far_steps_do_not_overflow():
    sampling = Sampling(real_per_fake=0.1234)
    labels = LABELS[build(sampling).batch(10**14)]
    assert 0 < (labels == 0).sum() < 8


@pytest.mark.parametrize(("ratio", "share"), RATIOS)
@pytest.mark.parametrize("mode", ["balanced", "undersample"])
@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_each_batch_and_each_rank_slice_has_the_ratio_to_within_a_row(mode, ratio, share, world):
    batches = build(Sampling(mode=mode, real_per_fake=ratio), batch_size=60)
    for step in range(20):
        rows = batches.batch(step)
        assert (LABELS[rows] == 0).sum() == share * 60
        parts = [slice_for_rank(rows, rank, world) for rank in range(world)]
        for part in parts:
            assert abs((LABELS[part] == 0).sum() - share * len(part)) < 1
        np.testing.assert_array_equal(np.concatenate(parts), rows)


@given(st.integers(1, 50), st.integers(1, 12))
def test_rank_slices_cover_a_batch_once_and_differ_by_a_row_at_most(size, world):
    rows = np.arange(size)
    parts = [slice_for_rank(rows, rank, world) for rank in range(world)]
    np.testing.assert_array_equal(np.concatenate(parts), rows)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(("ratio", "share"), RATIOS)
def test_uneven_batches_hold_the_ratio_to_within_a_row_and_over_all_exactly(ratio, share):
    labels = LABELS[draw(Sampling(real_per_fake=ratio), 100, batch_size=7)]
    for batch in labels.reshape(100, 7):
        assert abs((batch == 0).sum() - share * 7) < 1
    assert (labels == 0).sum() == share * 700


@pytest.mark.parametrize("steps", [5, 12, 13, 60, 103])
def test_natural_draws_use_up_all_rows_before_any_repeats(steps):
    counts = count(draw(NATURAL, steps))
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("sampling", [BALANCED, UNDERSAMPLE, Sampling(real_per_fake=0.3)])
@pytest.mark.parametrize("batch_size", [8, 50])
def test_no_row_of_a_class_repeats_before_the_class_is_used_up(sampling, batch_size):
    rows = draw(sampling, 40, batch_size)
    for label, size in enumerate((REALS, FAKES)):
        drawn = rows[LABELS[rows] == label]
        for start in range(0, len(drawn), size):
            one_pass = drawn[start : start + size]
            assert len(set(one_pass)) == len(one_pass)


def test_passes_of_a_class_come_in_orders_of_their_own():
    rows = draw(BALANCED, 20, batch_size=10)
    reals = rows[LABELS[rows] == 0].reshape(5, REALS)
    assert len({tuple(order) for order in reals}) == 5


@pytest.mark.parametrize("sampling", [NATURAL, BALANCED, COLUMN, GENERATOR])
def test_epoch_has_as_many_draws_as_rows(sampling):
    assert len(build(sampling)) == 103 // 8
    assert len(build(sampling, batch_size=500)) == 1
    assert len(build(sampling, batch_size=500).batch(0)) == 500


@pytest.mark.parametrize(
    ("ratio", "draws"), [(1.0, 40), (0.25, 100), (0.2, 99.6), (8.0, 22.5), (1 / 3, 80)]
)
def test_undersampled_epoch_ends_when_a_class_is_used_up(ratio, draws):
    sampling = Sampling(mode="undersample", real_per_fake=ratio)
    assert len(build(sampling, batch_size=1)) == int(draws)
    assert len(build(sampling, batch_size=8)) == draws // 8
    assert len(build(sampling, batch_size=500)) == 1


def test_undersampled_epoch_has_each_row_of_the_minority_once():
    batches = build(UNDERSAMPLE)
    for epoch in range(6):
        rows = np.concatenate([batches.batch(epoch * 5 + step) for step in range(5)])
        assert (count(rows)[LABELS == 0] == 1).all()


@pytest.mark.parametrize("sampling", [COLUMN, GENERATOR])
@pytest.mark.parametrize("batch_size", [8, 103, 500])
def test_weighted_epoch_draws_each_row_its_expected_count_rounded_down_or_up(sampling, batch_size):
    batches = build(sampling, batch_size)
    draws = len(batches) * batch_size
    expected = weigh_draws(CANDIDATES, sampling) * draws
    for epoch in range(20):
        steps = range(epoch * len(batches), (epoch + 1) * len(batches))
        counts = count(np.concatenate([batches.batch(step) for step in steps]))
        assert counts.sum() == draws
        assert (np.abs(counts - expected) < 1).all()


@pytest.mark.parametrize("weight", [0.1, 1.0, 7e5])
def test_equal_weights_draw_each_row_once_an_epoch(weight):
    # 0.1 has no exact binary form, and the rows are more than are worked on at once.
    m = 200_000
    candidates = Candidates(np.ones(m, np.int8), np.full(m, weight))
    for seed in range(3):
        assert (count(draw(COLUMN, 50, m // 50, seed, candidates), m) == 1).all()


def test_one_heavy_row_among_many_light_ones():
    weights = np.ones(150_000)
    weights[77] = 1e9
    candidates = Candidates(np.ones(150_000, np.int8), weights)
    counts = count(draw(COLUMN, 1, 150_000, candidates=candidates), 150_000)
    assert counts.sum() == 150_000
    assert 149_970 < counts[77] < 150_000


def test_generators_of_a_class_weigh_alike_and_the_classes_have_the_ratio():
    sampling = Sampling(mode="weighted", weights="generator", real_per_fake=0.5)
    shares = weigh_draws(CANDIDATES, sampling)
    totals = [shares[g == GENERATORS].sum() for g in np.unique(GENERATORS[LABELS == 1])]
    np.testing.assert_allclose(totals, 2 / 3 / len(totals))
    assert shares[LABELS == 0].sum() == pytest.approx(1 / 3)


def test_a_generator_of_both_classes_counts_in_each():
    generators = np.zeros(len(LABELS), np.int64)
    shares = weigh_draws(Candidates(LABELS, generators=generators), GENERATOR)
    np.testing.assert_allclose(shares, weigh_draws(CANDIDATES, BALANCED))


@pytest.mark.parametrize("sampling", ALL)
def test_weigh_draws_equals_realised_frequencies(sampling):
    shares = weigh_draws(CANDIDATES, sampling)
    assert shares.sum() == pytest.approx(1)
    steps = len(build(sampling)) * 500
    counts = count(draw(sampling, steps))
    expected = shares * steps * 8
    # Passes are off by less than a row; of systematic draws the rounding is random in each epoch.
    bound = 5 * np.sqrt(500 / 4) if sampling.mode == "weighted" else 1
    assert np.abs(counts - expected).max() <= bound


@pytest.mark.parametrize(
    ("sampling", "candidates", "message"),
    [
        (
            COLUMN,
            Candidates(LABELS),
            r"sampling\.weights column: data\.columns\.draw_weight names no",
        ),
        (
            GENERATOR,
            Candidates(LABELS),
            r"sampling\.weights generator: data\.columns\.generator names",
        ),
        (BALANCED, Candidates(LABELS * 0), "all 103 images to learn from are real"),
        (UNDERSAMPLE, Candidates(LABELS * 0 + 1), "mode undersample needs both classes.* are fake"),
        (GENERATOR, Candidates(LABELS * 0, generators=GENERATORS), "mode weighted needs both"),
    ],
)
def test_what_is_missing_is_named(sampling, candidates, message):
    with pytest.raises(ConfigError, match=message):
        build(sampling, candidates=candidates)
    with pytest.raises(ConfigError, match=message):
        weigh_draws(candidates, sampling)


def test_one_class_can_be_drawn_naturally():
    assert len(build(NATURAL, candidates=Candidates(LABELS * 0)).batch(0)) == 8


def test_extreme_ratios_keep_both_classes():
    few = weigh_draws(CANDIDATES, Sampling(real_per_fake=1e-6))
    many = weigh_draws(CANDIDATES, Sampling(real_per_fake=1e6))
    assert few[LABELS == 0].sum() == pytest.approx(1e-6, rel=1e-3)
    assert many[LABELS == 1].sum() == pytest.approx(1e-6, rel=1e-3)


def test_samplers_do_without_torch():
    code = "import sys, stage1_cnn.sampling.samplers; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
