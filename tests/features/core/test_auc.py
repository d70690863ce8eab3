"""Intervals of AUCs against brute force, the bootstrap, and simulated data of known AUC."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logit
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from features.core.auc import (
    AucEstimate,
    average_aucs,
    compare_aucs,
    compare_average_aucs,
    find_auc,
    measure_auc,
)

ROWS = st.lists(
    st.tuples(st.integers(0, 1), st.integers(-3, 3), st.integers(0, 4)), min_size=4, max_size=30
).filter(lambda rows: {label for label, _, _ in rows} == {0, 1})


def draw_scores(auc, fakes, reals, rng, spread=1.0):
    """Normal scores whose AUC is known; `spread` is the fakes' standard deviation."""
    labels = np.repeat([1, 0], [fakes, reals])
    fake = rng.normal(size=fakes) * spread + np.sqrt(1 + spread**2) * norm.ppf(auc)
    return labels, np.concatenate([fake, rng.normal(size=reals)])


def draw_clusters(auc, count, size, rng, shared=0.6):
    """Clusters of rows of both classes; `shared` is the correlation of scores within a cluster."""
    groups = np.repeat(np.arange(count), size)
    labels = rng.integers(0, 2, count * size)
    scores = np.sqrt(shared) * rng.normal(size=count)[groups]
    scores += np.sqrt(1 - shared) * rng.normal(size=count * size)
    return labels, scores + labels * np.sqrt(2) * norm.ppf(auc), groups


def find_components(labels, scores):
    """The components by comparing every fake with every real."""
    fakes, reals = scores[labels == 1], scores[labels == 0]
    right = (fakes[:, None] > reals) + 0.5 * (fakes[:, None] == reals)
    components = np.empty(len(labels))
    components[labels == 1], components[labels == 0] = right.mean(axis=1), right.mean(axis=0)
    return components, float(right.mean())


def find_variance(labels, scores, groups):
    """Obuchowski's formulas, cluster by cluster; for groups of one row they are DeLong's."""
    components, auc = find_components(labels, scores)
    total, both = 0.0, 0.0
    for label in (0, 1):
        held = labels == label
        names = np.unique(groups[held])
        sums = [(components[held & (groups == g)] - auc).sum() for g in names]
        total += len(names) / (len(names) - 1) * np.square(sums).sum() / held.sum() ** 2
    for g in np.unique(groups):
        parts = [
            (components[(labels == y) & (groups == g)] - auc).sum() / (labels == y).sum()
            for y in (0, 1)
        ]
        both += parts[0] * parts[1]
    return total, both


def half_width(estimate):
    return (logit(estimate.high) - logit(estimate.low)) / 2


# --- the estimate


@settings(max_examples=200, deadline=None)
@given(ROWS)
def test_auc_is_scikit_learns_with_ties_too(rows):
    labels, scores, groups = map(np.array, zip(*rows, strict=True))
    found = measure_auc(labels, scores, groups)
    assert found.auc == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    if found.low is not None:
        assert 0 <= found.low <= found.auc + 1e-12
        assert found.auc - 1e-12 <= found.high <= 1


@settings(max_examples=200, deadline=None)
@given(ROWS)
def test_auc_alone_is_scikit_learns_with_ties_too(rows):
    labels, scores, _ = (np.array(column) for column in zip(*rows, strict=True))
    found = find_auc(labels.astype(np.int8), scores / 3)
    assert found == pytest.approx(roc_auc_score(labels, scores / 3), abs=1e-12)
    assert type(found) is float


def test_auc_alone_holds_for_many_rows_at_any_scale():
    labels, scores = draw_scores(0.83, 30_000, 2_000, np.random.default_rng(0))
    for values in (scores, 1e-9 * scores + 3, scores.round(1), -scores):
        assert find_auc(labels, values) == pytest.approx(roc_auc_score(labels, values), abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_single_rows_have_delongs_variance(ties):
    labels, scores = draw_scores(0.7, 200, 300, np.random.default_rng(1))
    scores = scores.round() if ties else scores
    groups = np.arange(500)
    found = measure_auc(labels, scores, groups)
    error = np.sqrt(find_variance(labels, scores, groups)[0]) / (found.auc * (1 - found.auc))
    assert half_width(found) == pytest.approx(1.965 * error, rel=2e-3)  # Student's, some 400 df
    assert (logit(found.low) + logit(found.high)) / 2 == pytest.approx(logit(found.auc))


def test_clusters_of_both_classes_have_obuchowskis_variance():
    labels, scores, groups = draw_clusters(0.75, 150, 8, np.random.default_rng(2))
    found = measure_auc(labels, scores, groups)
    alone, both = find_variance(labels, scores, groups)
    error = np.sqrt(alone + 2 * both * 150 / 149) / (found.auc * (1 - found.auc))
    assert half_width(found) == pytest.approx(1.97 * error, rel=1e-2)
    assert both < -0.2 * alone  # rows of one cluster go up and down together: it matters


def test_the_bootstrap_agrees():
    rng = np.random.default_rng(3)
    labels, scores, groups = draw_clusters(0.8, 80, 5, rng)
    drawn = []
    for _ in range(400):
        rows = (5 * rng.integers(0, 80, 80)[:, None] + np.arange(5)).ravel()
        drawn.append(roc_auc_score(labels[rows], scores[rows]))
    found = measure_auc(labels, scores, groups)
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found.high - found.low == pytest.approx(high - low, rel=0.15)


def test_a_lower_level_is_a_narrower_interval():
    labels, scores = draw_scores(0.7, 50, 50, np.random.default_rng(0))
    wide = measure_auc(labels, scores, np.arange(100), level=0.95)
    narrow = measure_auc(labels, scores, np.arange(100), level=0.5)
    assert wide.low < narrow.low < narrow.auc < narrow.high < wide.high


# --- coverage


@pytest.mark.parametrize("auc", [0.6, 0.9, 0.97, 0.995])
@pytest.mark.parametrize(("fakes", "reals"), [(10, 10), (20, 400), (150, 50)])
@pytest.mark.parametrize("spread", [1.0, 3.0])
def test_95_of_100_intervals_hold_the_auc(auc, fakes, reals, spread):
    rng = np.random.default_rng(4)
    groups = np.arange(fakes + reals)
    held = []
    for _ in range(300):
        found = measure_auc(*draw_scores(auc, fakes, reals, rng, spread), groups)
        held.append(found.low <= auc <= found.high)
    assert np.mean(held) >= 0.92  # 95 % of 300 drawn is below that in 1 of 100 cases
    if auc == 0.6 and fakes > 10:
        assert np.mean(held) <= 0.985  # and intervals are no wider than they need be


@pytest.mark.parametrize(("count", "size"), [(12, 20), (60, 6)])
def test_clustered_rows_need_their_clusters(count, size):
    """Every row of a cluster is of one class: the case of many frames of one video."""
    rng = np.random.default_rng(5)
    held, alone = [], []
    for _ in range(300):
        kinds = rng.permutation(np.arange(count) % 2)
        groups = np.repeat(np.arange(count), size)
        labels = kinds[groups]
        scores = 0.9 * rng.normal(size=count)[groups]
        scores += np.sqrt(1 - 0.9**2) * rng.normal(size=count * size)
        scores += labels * np.sqrt(2) * norm.ppf(0.8)
        found = measure_auc(labels, scores, groups)
        held.append(found.low <= 0.8 <= found.high)
        found = measure_auc(labels, scores, np.arange(count * size))
        alone.append(found.low <= 0.8 <= found.high)
    assert np.mean(held) >= 0.92
    assert np.mean(alone) < 0.7


@pytest.mark.parametrize("auc", [0.8, 0.97])
@pytest.mark.parametrize(("shared", "least"), [(0.1, 0.92), (0.5, 0.82)])
def test_few_large_groups_of_both_classes(auc, shared, least):
    """Parts of a handful of photographs, real and forged: the second is a known weakness."""
    rng = np.random.default_rng(7)
    held = []
    for _ in range(300):
        labels, scores, groups = draw_clusters(auc, 10, 60, rng, shared)
        found = measure_auc(labels, scores, groups)
        held.append(found.low <= auc <= found.high)
    assert np.mean(held) >= least


def test_a_fake_beside_its_original_narrows_the_interval():
    rng = np.random.default_rng(6)
    held, widths = [], []
    for _ in range(300):
        labels, groups = np.tile([0, 1], 60), np.repeat(np.arange(60), 2)
        scores = np.sqrt(0.7) * rng.normal(size=60)[groups] + np.sqrt(0.3) * rng.normal(size=120)
        scores += labels * np.sqrt(2) * norm.ppf(0.8)
        found = measure_auc(labels, scores, groups)
        loose = measure_auc(labels, scores, np.arange(120))
        held.append(found.low <= 0.8 <= found.high)
        widths.append((found.high - found.low) / (loose.high - loose.low))
    assert 0.92 <= np.mean(held) <= 0.985
    assert np.mean(widths) < 0.75


# --- near and at the ends


@pytest.mark.parametrize("fakes", [5, 50, 2000])
def test_a_faultless_order_is_no_certainty(fakes):
    labels = np.repeat([1, 0], [fakes, 3000])
    found = measure_auc(labels, labels * 1.0, np.arange(fakes + 3000))
    assert (found.auc, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.05 ** (1 / fakes))
    assert measure_auc(1 - labels, labels * 1.0, np.arange(fakes + 3000)) == AucEstimate(
        0.0, 0.0, pytest.approx(1 - found.low)
    )


def test_an_order_with_faults_claims_no_more_than_a_faultless_one():
    labels = np.repeat([1, 0], [30, 100])
    scores = np.concatenate([np.arange(30) + 99.5, np.arange(100.0)])
    best = measure_auc(labels, labels * 1.0, np.arange(130))
    for faults in (1, 3, 10):
        found = measure_auc(labels, scores - np.repeat([faults, 0], [30, 100]), np.arange(130))
        assert 0.9 < found.auc < 1
        assert found.low <= best.low


def test_the_rule_of_three_counts_clusters_not_rows():
    labels = np.repeat([1, 0, 0, 0], 25)
    groups = np.arange(100) // 5
    assert measure_auc(labels, labels * 1.0, groups).low == pytest.approx(0.05 ** (1 / 5))
    both = np.arange(100) % 4  # four groups, each of both classes
    assert measure_auc(labels, labels * 1.0, both).low == pytest.approx(0.05 ** (1 / 4))


def test_after_faults_dependence_is_what_the_variances_show():
    """Few large groups of both classes: their rows are worth more than one pair a group."""
    rng = np.random.default_rng(14)
    lows = []
    for shared in (0.0, 0.2):
        labels, scores, groups = draw_clusters(0.97, 10, 100, rng, shared)
        found = measure_auc(labels, scores, groups)
        assert measure_auc(labels, labels * 1.0, groups).low < 0.75
        lows.append(found.low)
    assert min(lows) > 0.93


def test_one_huge_group_beside_small_ones_leaves_few_degrees_of_freedom():
    rng = np.random.default_rng(8)
    place = np.arange(800)
    even = place // 4
    uneven = np.where(place % 400 < 300, place // 400, 2 + place)  # three quarters in one group
    ratios = []
    for _ in range(30):
        labels, scores = draw_scores(0.8, 400, 400, rng)
        found = [half_width(measure_auc(labels, scores, groups)) for groups in (even, uneven)]
        ratios.append(found[1] / found[0])
    assert np.median(ratios) > 2


def test_constant_scores_are_surely_at_a_half():
    labels = np.repeat([1, 0], 20)
    assert measure_auc(labels, np.full(40, 3.0), np.arange(40)) == AucEstimate(0.5, 0.5, 0.5)


def test_errors_that_cancel_out_within_two_groups_are_not_taken_for_none():
    found = measure_auc([1, 0, 1, 0], [1.0, 0.0, 3.0, 2.0], np.array([0, 0, 1, 1]))
    assert found.auc == 0.75
    assert found.high - found.low > 0.5


def test_too_few_rows_have_no_interval():
    assert measure_auc([1, 1], [1.0, 2.0], np.arange(2)) == AucEstimate(None)
    assert measure_auc([0, 0, 1], [1.0, 2.0, 1.5], np.arange(3)) == AucEstimate(0.5)
    one_group = np.array([0, 0, 0, 1, 2])
    assert measure_auc([1, 1, 1, 0, 0], np.arange(5.0), one_group).low is None


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [([0, 1, -1], [0.0, 1.0, 2.0], "labels"), ([0, 1, 1], [0.0, 1.0, np.nan], "finite")],
)
def test_what_cannot_be_measured_is_refused(labels, scores, message):
    with pytest.raises(ValueError, match=message):
        measure_auc(labels, scores, np.arange(3))


# --- differences


def find_covariance(labels, one, other):
    """Of two AUCs on the same single rows, by DeLong's formulas."""
    parts = [find_components(labels, scores)[0] for scores in (one, other)]
    return sum(
        np.cov(parts[0][labels == y], parts[1][labels == y])[0, 1] / (labels == y).sum()
        for y in (0, 1)
    )


def test_paired_difference_is_delongs_where_rows_are_many():
    rng = np.random.default_rng(9)
    labels, one = draw_scores(0.7, 1500, 1500, rng)
    other = one + rng.normal(size=3000)
    groups = np.arange(3000)
    found = compare_aucs(labels, groups, one, other)
    wanted = roc_auc_score(labels, one) - roc_auc_score(labels, other)
    variance = sum(find_variance(labels, s, groups)[0] for s in (one, other))
    error = np.sqrt(variance - 2 * find_covariance(labels, one, other))
    assert found.auc == pytest.approx(wanted)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.02)
    assert compare_aucs(labels, groups, other, one).auc == -found.auc


def test_equal_scores_differ_by_nothing():
    labels, scores = draw_scores(0.6, 100, 100, np.random.default_rng(0))
    found = compare_aucs(labels, np.arange(200), scores, scores)
    assert found.auc == 0
    assert found.high - found.low < 0.02


def test_row_sets_that_share_nothing_are_independent():
    rng = np.random.default_rng(10)
    labels, scores = draw_scores(0.7, 400, 400, rng)
    first = np.arange(800) % 2 == 0
    groups = np.arange(800)
    found = compare_aucs(labels, groups, scores, scores, first, ~first)
    parts = [measure_auc(labels[k], scores[k], groups[k]) for k in (first, ~first)]
    halves = [(part.high - part.low) / 2 for part in parts]
    assert (found.high - found.low) / 2 == pytest.approx(np.hypot(*halves), rel=0.02)


def test_shared_reals_are_counted_once():
    """Two kinds of fakes against the same few reals: these move both AUCs alike."""
    labels, scores = draw_scores(0.8, 1000, 60, np.random.default_rng(11))
    first = (np.arange(1060) < 500) | (labels == 0)
    second = (np.arange(1060) >= 500) | (labels == 0)
    groups = np.arange(1060)
    shared = compare_aucs(labels, groups, scores, scores, first, second)
    parts = [measure_auc(labels[k], scores[k], groups[k]) for k in (first, second)]
    apart = np.hypot(*((part.high - part.low) / 2 for part in parts))
    components, auc = find_components(labels[first], scores[first])
    other, other_auc = find_components(labels[second], scores[second])
    variance = sum(
        np.var(c[y == 1], ddof=1) / 500
        for c, y in ((components, labels[first]), (other, labels[second]))
    )
    reals = components[labels[first] == 0] - other[labels[second] == 0]
    error = np.sqrt(variance + np.var(reals, ddof=1) / 60)
    assert shared.auc == pytest.approx(auc - other_auc)
    assert (shared.high - shared.low) / 2 == pytest.approx(1.97 * error, rel=0.12)
    assert (shared.high - shared.low) / 2 < 0.75 * apart


@pytest.mark.parametrize(
    ("aucs", "counts"),
    [((0.97, 0.9), (50, 20, 150)), ((0.95, 0.6), (100, 50, 100)), ((0.9, 0.9), (30, 30, 30))],
)
def test_95_of_100_intervals_hold_the_gap(aucs, counts):
    rng = np.random.default_rng(12)
    labels = np.repeat([1, 1, 0], counts)
    place = np.arange(sum(counts))
    first, second = (place < counts[0]) | (labels == 0), place >= counts[0]
    held = []
    for _ in range(300):
        shifts = np.repeat([*(np.sqrt(2) * norm.ppf(aucs)), 0], counts)
        scores = rng.normal(size=sum(counts)) + shifts
        found = compare_aucs(labels, place, scores, scores, first, second)
        held.append(found.low <= aucs[0] - aucs[1] <= found.high)
    assert np.mean(held) >= 0.92


def test_faultless_against_faulty_still_has_two_bounds():
    labels = np.repeat([1, 1, 0], 20)
    rng = np.random.default_rng(13)
    scores = np.concatenate([np.full(20, 9.0), rng.normal(size=20) + 1, rng.normal(size=20)])
    place = np.arange(60)
    first, second = (place < 20) | (place >= 40), place >= 20
    found = compare_aucs(labels, place, scores, scores, first, second)
    assert -1 <= found.low < found.auc < found.high <= 1
    both = compare_aucs(labels, place, labels * 1.0, labels * 1.0, first, second)
    assert (both.auc, both.low) == (0, -both.high)
    assert both.high == pytest.approx(1 - 0.05 ** (1 / 20))


def test_a_difference_without_a_class_is_none():
    labels = np.repeat([1, 0], 10)
    found = compare_aucs(labels, np.arange(20), labels, labels, second_rows=labels == 1)
    assert found == AucEstimate(None)
    found = compare_aucs(labels, np.repeat([0, 1], 10), labels, labels)
    assert found == AucEstimate(0.0)


# --- words


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (AucEstimate(0.6172, 0.551, 0.679), "0.617 [0.551, 0.679]"),
        (AucEstimate(0.5), "0.500"),
        (AucEstimate(None), "–"),
    ],
)
def test_description(estimate, text):
    assert estimate.describe() == text
    assert AucEstimate.from_metrics(estimate.to_metrics() | {"ap": 1}) == estimate


def test_a_mean_over_tiers_counts_that_they_are_of_the_same_rows():
    rng = np.random.default_rng(3)
    labels, groups = np.repeat([0, 1], 200), np.arange(400) // 2
    scores = [labels * 1.5 + rng.normal(size=400) for _ in range(3)]
    single = [measure_auc(labels, own, groups) for own in scores]
    mean = average_aucs(labels, scores, groups)
    assert mean.auc == pytest.approx(np.mean([one.auc for one in single]))
    assert average_aucs(labels, scores[:1], groups) == single[0]
    same = average_aucs(labels, [scores[0]] * 3, groups)
    assert (same.low, same.high) == pytest.approx((single[0].low, single[0].high))
    # Scores that err apart from each other average out, as independent samples would.
    widths = [one.high - one.low for one in (mean, *single)]
    assert widths[0] == pytest.approx(np.mean(widths[1:]) / np.sqrt(3), rel=0.15)


def test_means_of_aucs_are_compared_by_row():
    rng = np.random.default_rng(4)
    labels, groups = np.repeat([0, 1], 200), np.arange(400) // 2
    shared = rng.normal(size=400)
    first, second = (
        [labels * strength + shared + 0.5 * rng.normal(size=400) for _ in range(3)]
        for strength in (1.5, 1.0)
    )
    found = compare_average_aucs(labels, groups, first, second)
    means = [np.mean([find_auc(labels, own) for own in side]) for side in (first, second)]
    assert found.auc == pytest.approx(means[0] - means[1])
    single = compare_aucs(labels, groups, first[0], second[0])
    assert found.high - found.low < single.high - single.low
    assert compare_average_aucs(labels, groups, first[:1], second[:1]) == single


def test_the_interval_of_a_mean_holds_the_true_mean():
    """95 of 100 times, with tiers that share most of their error."""
    true = [norm.cdf(distance / np.sqrt(2)) for distance in (2.0, 1.0)]
    held = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        labels, shared = np.repeat([0, 1], 60), rng.normal(size=120)
        tiers = [
            labels * distance + np.sqrt(0.8) * shared + np.sqrt(0.2) * rng.normal(size=120)
            for distance in (2.0, 1.0)
        ]
        found = average_aucs(labels, tiers, np.arange(120))
        held.append(found.low <= np.mean(true) <= found.high)
    assert 0.92 <= np.mean(held) <= 0.98
