"""Resampled metrics against rows really repeated, and intervals against simulated data."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logit
from scipy.stats import norm

from features.core.auc import measure_auc
from stage2_ensemble.measures import resampling
from stage2_ensemble.measures.metrics import measure_scores, measure_tpr
from stage2_ensemble.measures.reliability import find_bins, measure_ece
from stage2_ensemble.measures.resampling import (
    Resamples,
    draw_counts,
    find_bounds,
    find_paired_bounds,
    index_groups,
    measure_resamples,
    rank_rows,
)

ROWS = st.lists(
    st.tuples(st.integers(0, 1), st.integers(-3, 3).map(float), st.integers(0, 6)),
    min_size=4,
    max_size=30,
).filter(lambda rows: {label for label, _, _ in rows} == {0, 1})
METRICS = ("auc", "ap", "accuracy", "balanced_accuracy", "log_loss", "ece")


def split_rows(rows):
    labels, scores, groups = map(np.array, zip(*rows, strict=True))
    return labels.astype(np.int8), scores, groups


def draw_clusters(count, size, auc, rng, shared=0.3, sharp=1.0):
    """Groups of rows of both classes; scores are log-odds that are right where `sharp` is 1."""
    groups = np.repeat(np.arange(count), size)
    labels = (rng.random(count * size) < 0.6).astype(np.int8)
    noise = np.sqrt(shared) * rng.normal(size=count)[groups]
    noise += np.sqrt(1 - shared) * rng.normal(size=count * size)
    distance = np.sqrt(2) * norm.ppf(auc)
    scores = distance * (noise + distance * labels) - distance**2 / 2 + logit(0.6)
    return labels, sharp * scores, groups


def fake_resamples(**values) -> Resamples:
    arrays = {name: np.asarray(value, float) for name, value in values.items()}
    return Resamples(arrays, arrays.get("noise", np.zeros(1)), 0)


# --- draws


def test_as_many_groups_are_drawn_as_there_are():
    counts = np.concatenate(list(draw_counts(40, 3000, 128)))
    assert counts.shape == (3000, 40)
    assert set(counts.sum(axis=1)) == {40}
    assert counts.mean(axis=0) == pytest.approx(np.ones(40), abs=0.1)
    assert counts.var() == pytest.approx(1 - 1 / 40, abs=0.02)  # multinomial


def test_draws_follow_from_the_seed_not_from_the_chunk():
    wanted = np.concatenate(list(draw_counts(7, 50, 50, seed=3)))
    for chunk in (1, 7, 49):
        found = list(draw_counts(7, 50, chunk, seed=3))
        assert max(map(len, found)) == chunk
        np.testing.assert_array_equal(np.concatenate(found), wanted)
    assert (np.concatenate(list(draw_counts(7, 50, 50, seed=4))) != wanted).any()


# --- metrics of a resample


@settings(max_examples=60, deadline=None)
@given(ROWS, st.sampled_from([-1.0, 0.5, 1.0]))
def test_metrics_are_those_of_rows_really_repeated(rows, threshold):
    labels, scores, codes = split_rows(rows)
    groups = index_groups(labels, codes)
    found = measure_resamples(labels, scores, groups, threshold, resamples=12)
    bins, place = find_bins(scores), 0
    for counts in np.concatenate(list(draw_counts(groups.count, 12, 12))):
        repeated = np.repeat(np.arange(len(labels)), counts[groups.numbers])
        if len(np.unique(labels[repeated])) < 2:
            continue
        again, drawn = labels[repeated], scores[repeated]
        wanted = measure_scores(again, drawn, codes[repeated], threshold)
        wanted["ece"] = measure_ece(again, drawn, bins[repeated])
        for name in METRICS:
            assert found.values[name][place] == pytest.approx(wanted[name], abs=1e-12), name
        place += 1
    assert found.dropped == 12 - place
    assert {len(values) for values in found.values.values()} == {place}


@settings(max_examples=100, deadline=None)
@given(ROWS, st.sampled_from([0.1, 0.25, 0.5, 1.0]), st.integers(0, 5))
def test_tpr_is_that_of_rows_really_repeated(rows, rate, seed):
    labels, scores, codes = split_rows(rows)
    numbers = np.unique(codes, return_inverse=True)[1]
    ranking = rank_rows(labels, scores, numbers)
    counts = next(draw_counts(numbers.max() + 1, 10, 10, seed))
    for own in counts:
        repeated = np.repeat(np.arange(len(labels)), own[numbers])
        again, drawn = labels[repeated], scores[repeated]
        if len(np.unique(again)) < 2:
            continue
        found = ranking.weigh(own[None]).measure_tpr(rate)[0]
        wanted = measure_tpr(again, drawn, rate)
        if wanted is None:  # where no real may stand above, it goes on
            wanted = float(np.mean(drawn[again == 1] > drawn[again == 0].max()))
        assert found == wanted


@pytest.mark.parametrize("ties", [False, True])
def test_tprs_of_many_rows(ties):
    rng = np.random.default_rng(0)
    labels, scores, codes = draw_clusters(1500, 2, 0.9, rng)
    scores = scores.round(1) if ties else scores
    groups = index_groups(labels, codes)
    found = measure_resamples(labels, scores, groups, 0.0, resamples=5)
    for place, counts in enumerate(np.concatenate(list(draw_counts(1500, 5, 5)))):
        repeated = np.repeat(np.arange(3000), counts[groups.numbers])
        wanted = measure_scores(labels[repeated], scores[repeated], codes[repeated], 0.0)
        for name in ("tpr_at_fpr_1e-2", "tpr_at_fpr_1e-3"):
            assert found.values[name][place] == wanted[name]


def test_counts_of_one_give_the_metrics_themselves():
    labels, scores, codes = draw_clusters(100, 3, 0.8, np.random.default_rng(1))
    weighed = rank_rows(labels, scores, codes).weigh(np.ones((1, 100), np.int64))
    wanted = measure_scores(labels, scores, codes, 0.0)
    assert weighed.measure_auc()[0] == pytest.approx(wanted["auc"], abs=1e-12)
    assert weighed.measure_ap()[0] == pytest.approx(wanted["ap"], abs=1e-12)
    assert weighed.measure_tpr(1e-2)[0] == wanted["tpr_at_fpr_1e-2"]


def test_chunks_change_nothing(monkeypatch):
    labels, scores, codes = draw_clusters(50, 4, 0.8, np.random.default_rng(2))
    groups = index_groups(labels, codes)
    wanted = measure_resamples(labels, scores, groups, 0.0, resamples=30).values
    monkeypatch.setattr(resampling, "CHUNK", 1)
    found = measure_resamples(labels, scores, groups, 0.0, resamples=30).values
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-12)


def test_the_same_call_gives_the_same_bytes():
    labels, scores, codes = draw_clusters(50, 4, 0.8, np.random.default_rng(2))
    groups = index_groups(labels, codes)
    one, other = (measure_resamples(labels, scores, groups, 0.0).values for _ in range(2))
    assert {k: v.tobytes() for k, v in one.items()} == {k: v.tobytes() for k, v in other.items()}


def test_resamples_without_a_class_are_left_out_and_counted():
    labels = np.array([0, 1, 1, 1], np.int8)
    groups = index_groups(labels, np.arange(4))
    found = measure_resamples(labels, np.arange(4.0), groups, 0.5, resamples=2000)
    assert found.dropped / 2000 == pytest.approx(0.75**4 + 0.25**4, abs=0.03)
    assert all(np.isfinite(values).all() for values in found.values.values())
    assert {len(values) for values in found.values.values()} == {2000 - found.dropped}


def test_memory_does_not_grow_with_resamples():
    labels, scores, codes = draw_clusters(20_000, 2, 0.8, np.random.default_rng(3))
    groups = index_groups(labels, codes)
    peaks = []
    for resamples in (20, 200):
        tracemalloc.start()
        measure_resamples(labels, scores, groups, 0.0, resamples)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
    assert peaks[1] < 200 * 40_000 * 4  # far from a table of resamples and rows


# --- groups


def test_the_class_with_fewer_groups_decides():
    labels = np.repeat([0, 1], [19, 60]).astype(np.int8)
    alone = index_groups(labels, 7 * np.arange(79))
    assert alone.to_metrics() == {"groups": 79, "reliable": False}
    assert index_groups(np.append(labels, 0), np.arange(80)).reliable
    mixed = index_groups(np.tile([0, 1], 20), np.repeat(np.arange(20), 2))
    assert mixed.to_metrics() == {"groups": 20, "reliable": True}


# --- intervals


def test_many_groups_have_plain_percentiles_and_few_have_wider_ones():
    drawn = fake_resamples(ap=np.linspace(0, 1, 10_001))
    assert find_bounds("ap", 0.5, drawn, 100_000) == pytest.approx((0.025, 0.975), abs=1e-4)
    low, high = find_bounds("ap", 0.5, drawn, 20)
    assert (low, high) == pytest.approx((0.0159, 0.9841), abs=1e-4)
    assert find_bounds("ap", 0.5, drawn, 2) == pytest.approx((0, 1))


def test_a_class_of_one_group_has_no_interval():
    drawn = fake_resamples(ap=[0.5, 0.6])
    assert find_bounds("ap", 0.5, drawn, 1) == (None, None)
    assert find_paired_bounds("ap", drawn, drawn, 1) == (None, None)
    assert find_bounds("ap", 0.5, fake_resamples(ap=[]), 5) == (None, None)


@pytest.mark.parametrize("name", ["accuracy", "tpr_at_fpr_1e-2", "ap"])
def test_rows_without_a_fault_are_no_certainty(name):
    low, high = find_bounds(name, 1.0, fake_resamples(**{name: np.ones(50)}), 40)
    assert (low, high) == (pytest.approx(0.05 ** (1 / 40)), 1.0)
    low, high = find_bounds(name, 0.0, fake_resamples(**{name: np.zeros(50)}), 40)
    assert (low, high) == (0.0, pytest.approx(1 - 0.05 ** (1 / 40)))


def test_an_interval_holds_the_value_itself():
    drawn = fake_resamples(ap=[0.4, 0.5], noise=[0.1, 0.2], ece=[0.3, 0.4])
    assert find_bounds("ap", 0.3, drawn, 30)[0] == 0.3
    assert find_bounds("ap", 0.6, drawn, 30)[1] == 0.6
    low, high = find_bounds("ece", 0.25, drawn, 30)
    assert 0 <= low <= 0.25 < high <= 0.4
    assert find_bounds("ece", 0.19, drawn, 30)[0] == 0.0  # no more than chance


def test_paired_differences_are_narrower_than_their_parts():
    rng = np.random.default_rng(4)
    labels, scores, codes = draw_clusters(80, 4, 0.85, rng)
    groups = index_groups(labels, codes)
    other = scores + 0.1 * rng.normal(size=len(scores))
    one, two = (measure_resamples(labels, s, groups, 0.0) for s in (scores, other))
    low, high = find_paired_bounds("ap", one, two, groups.least)
    own_low, own_high = find_bounds("ap", 0.85, one, groups.least)
    assert high - low < 0.3 * (own_high - own_low)
    assert find_paired_bounds("ap", one, one, groups.least) == (0.0, 0.0)


def test_the_aucs_percentiles_are_delongs_bounds():
    labels, scores, codes = draw_clusters(150, 4, 0.8, np.random.default_rng(5))
    groups = index_groups(labels, codes)
    drawn = measure_resamples(labels, scores, groups, 0.0)
    wanted = measure_auc(labels, scores, codes)
    low, high = find_bounds("auc", wanted.auc, drawn, groups.least)
    assert (low, high) == pytest.approx((wanted.low, wanted.high), abs=0.006)


@pytest.mark.parametrize("sharp", [1.0, 2.0])
@pytest.mark.parametrize(("count", "size"), [(300, 1), (40, 8), (20, 15)])
def test_90_of_100_intervals_hold_the_true_figure(count, size, sharp):
    """Of 150 sets, so with a wide margin; a TPR that stands on few reals is another matter."""
    big = draw_clusters(200_000, 1, 0.85, np.random.default_rng(0), sharp=sharp)
    truth = measure_scores(*big, threshold=0.3)
    rng, held = np.random.default_rng(6), {name: [] for name in METRICS}
    for _ in range(150):
        labels, scores, codes = draw_clusters(count, size, 0.85, rng, sharp=sharp)
        groups = index_groups(labels, codes)
        values = measure_scores(labels, scores, codes, 0.3)
        drawn = measure_resamples(labels, scores, groups, 0.3, resamples=200)
        for name in METRICS:
            low, high = find_bounds(name, values[name], drawn, groups.least)
            held[name].append(low <= truth[name] <= high)
    for name, hits in held.items():
        assert np.mean(hits) >= 0.86, name
