"""Metrics against scikit-learn, hand-computed values and brute force."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as peer

from stage2_ensemble.measures.metrics import (
    FPR_GRID,
    RECALL_GRID,
    measure_log_loss,
    measure_rates,
    measure_scores,
    measure_tpr,
    trace_curves,
)
from stage2_ensemble.measures.reliability import find_bins, measure_ece

FEW_VALUES = st.integers(-3, 3).map(float)
ROWS = st.lists(st.tuples(st.integers(0, 1), FEW_VALUES), min_size=2, max_size=25).filter(
    lambda rows: {label for label, _ in rows} == {0, 1}
)


def split_rows(rows: list[tuple[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    labels, scores = zip(*rows, strict=True)
    return np.array(labels, np.int8), np.array(scores)


def draw_scores(reals: int, fakes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat([0, 1], [reals, fakes]).astype(np.int8)
    return labels, np.random.default_rng(seed).normal(size=reals + fakes) + labels


# --- TPR at FPR


def test_tpr_by_hand():
    labels = np.array([0] * 200 + [1] * 4, np.int8)
    scores = np.concatenate([np.arange(200.0), [500, 199.5, 198.5, 197.5]])
    assert measure_tpr(labels, scores, 1e-2) == 3 / 4 + 1 / 4  # two reals may stand above: 198, 199
    scores[-1] = 196.5  # 197, 198, 199 stand above it: one too many
    assert measure_tpr(labels, scores, 1e-2) == 3 / 4


def test_a_real_that_ties_with_a_fake_counts_as_above_it():
    labels = np.array([0] * 100 + [1] * 2, np.int8)
    scores = np.concatenate([np.zeros(98), [5.0, 5.0], [5.0, 9.0]])
    assert measure_tpr(labels, scores, 1e-2) == 1 / 2  # the tie holds two reals: all out
    scores[98] = 0
    assert measure_tpr(labels, scores, 1e-2) == 1.0  # one real of 100: all in


@settings(max_examples=150, deadline=None)
@given(ROWS, st.sampled_from([0.1, 0.25, 0.5, 1.0]))
def test_tpr_against_brute_force(rows, rate):
    labels, scores = split_rows(rows)
    reals, fakes = scores[labels == 0], scores[labels == 1]
    shares = [
        float(np.mean(fakes >= t))
        for t in [*scores, np.inf]
        if Fraction(int((reals >= t).sum()), len(reals)) <= Fraction(rate)
    ]
    wanted = None if rate * len(reals) < 1 else max(shares)
    assert measure_tpr(labels, scores, rate) == wanted


@pytest.mark.parametrize(
    ("reals", "rate", "is_measured"),
    [(99, 1e-2, False), (100, 1e-2, True), (999, 1e-3, False), (1000, 1e-3, True)],
)
def test_tpr_is_none_where_less_than_one_real_may_stand_above(reals, rate, is_measured):
    labels, scores = draw_scores(reals, 50)
    assert (measure_tpr(labels, scores, rate) is not None) == is_measured


def test_scores_next_to_one_keep_their_order():
    labels, scores = draw_scores(1000, 1000)
    measured = measure_tpr(labels, scores + 60, 1e-3)  # as probabilities all would be 1.0
    assert measured == measure_tpr(labels, scores, 1e-3) > 0


def test_rows_behind_a_tpr_are_the_reals_at_or_above_its_threshold():
    labels = np.array([0] * 400 + [1] * 4, np.int8)
    scores = np.concatenate([np.arange(400.0), [500, 398.5, 396.5, 9]])
    found = measure_rates(labels, scores)
    assert found["tpr_at_fpr_1e-2"] == 3 / 4
    assert found["false_positives_1e-2"] == 3  # 397, 398, 399; a fourth would find no more
    assert (found["tpr_at_fpr_1e-3"], found["false_positives_1e-3"]) == (None, None)
    scores[-4:] = 0
    assert measure_rates(labels, scores)["false_positives_1e-2"] == 0  # nothing is found


# --- calibration error


def test_ece_by_hand():
    labels = np.tile([0, 1, 1], 15).astype(np.int8)
    scores = np.repeat(np.arange(15.0), 3)  # a bin each
    wanted = np.mean(np.abs(2 / 3 - 1 / (1 + np.exp(-np.arange(15.0)))))
    bins = find_bins(scores)
    assert bins.tolist() == np.repeat(np.arange(15), 3).tolist()
    assert measure_ece(labels, scores, bins) == pytest.approx(wanted)


def test_bins_are_of_equal_mass_and_never_part_a_score():
    scores = np.random.default_rng(0).normal(size=1500)
    assert np.bincount(find_bins(scores)).tolist() == [100] * 15
    rounded = scores.round()
    for score in np.unique(rounded):
        assert len(set(find_bins(rounded)[rounded == score])) == 1
    assert set(find_bins(np.full(40, 3.0))) == {7}
    assert find_bins(np.arange(4.0)).tolist() == [1, 5, 9, 13]


def test_scores_that_are_right_have_an_ece_near_0():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=100_000) * 2
    labels = (rng.random(100_000) < 1 / (1 + np.exp(-scores))).astype(np.int8)
    assert measure_ece(labels, scores, find_bins(scores)) < 0.006
    assert measure_ece(labels, 3 * scores, find_bins(scores)) > 0.08


# --- log loss


def test_log_loss_is_scikit_learns():
    labels, scores = draw_scores(60, 90)
    wanted = peer.log_loss(labels, 1 / (1 + np.exp(-scores)))
    assert measure_log_loss(labels, scores) == pytest.approx(wanted, rel=1e-12)


def test_log_loss_stays_finite_and_exact_far_out():
    labels = np.array([0, 1, 0, 1], np.int8)
    assert measure_log_loss(labels, np.array([1000.0, -1000, -1000, 1000])) == 500.0
    assert measure_log_loss(labels, np.array([-50.0, 50, -50, 50])) == pytest.approx(np.exp(-50.0))


# --- all of them


def test_measures_are_scikit_learns():
    labels, scores = draw_scores(120, 180)
    found = measure_scores(labels, scores, np.arange(300), 0.4)
    answers = scores >= 0.4
    assert found["auc"] == pytest.approx(peer.roc_auc_score(labels, scores))
    assert found["ap"] == pytest.approx(peer.average_precision_score(labels, scores))
    assert found["accuracy"] == pytest.approx(np.mean(answers == labels))
    halves = (np.mean(answers[labels == 1]), np.mean(~answers[labels == 0]))
    assert found["balanced_accuracy"] == pytest.approx(np.mean(halves))
    assert found["tpr_at_fpr_1e-3"] is None


def test_rows_of_one_group_count_as_one():
    labels, scores = draw_scores(120, 180)
    alone = measure_scores(labels, scores, np.arange(300), 0.0)
    twice = [np.repeat(values, 4) for values in (labels, scores, np.arange(300))]
    grouped = measure_scores(*twice, 0.0)
    assert grouped["auc_low"] == pytest.approx(alone["auc_low"], abs=1e-3)
    assert grouped["auc_high"] == pytest.approx(alone["auc_high"], abs=1e-3)
    loose = measure_scores(*twice[:2], np.arange(1200), 0.0)
    assert loose["auc_high"] - loose["auc_low"] < 0.6 * (alone["auc_high"] - alone["auc_low"])


def test_a_row_at_the_threshold_is_labelled_fake():
    labels = np.array([0, 0, 1, 1], np.int8)
    found = measure_scores(labels, np.array([0.0, 1.0, 1.0, 2.0]), np.arange(4), 1.0)
    assert found["accuracy"] == 3 / 4  # the real at 1.0 is wrong, the fake at 1.0 is right
    assert found["balanced_accuracy"] == 3 / 4


def test_separable_scores():
    labels = np.repeat([0, 1], 1000).astype(np.int8)
    scores = np.where(labels == 1, 2.0, -2.0)
    found = measure_scores(labels, scores, np.arange(2000), 0.0)
    assert found.pop("log_loss") == pytest.approx(np.log1p(np.exp(-2.0)))
    assert found.pop("auc_low") == pytest.approx(0.05 ** (1 / 1000))
    assert found.pop("ece") == pytest.approx(1 / (1 + np.exp(2.0)))
    assert {found.pop("false_positives_1e-2"), found.pop("false_positives_1e-3")} == {0}
    assert set(found.values()) == {1.0}


def test_constant_scores():
    labels = np.repeat([0, 1], [400, 600]).astype(np.int8)
    scores = np.full(1000, 3.0)
    found = measure_scores(labels, scores, np.arange(1000), 3.0)
    assert (found["auc"], found["accuracy"], found["tpr_at_fpr_1e-2"]) == (0.5, 0.6, 0.0)


# --- curves


@pytest.mark.parametrize("ties", [False, True])
def test_curves_are_the_best_of_scikit_learns(ties):
    labels, scores = draw_scores(1000, 100)
    if ties:
        scores = scores.round()
    fpr, tpr, _ = peer.roc_curve(labels, scores, drop_intermediate=False)
    precision, recall, _ = peer.precision_recall_curve(labels, scores)
    found_tpr, found_precision = trace_curves(labels, scores)
    assert found_tpr.tolist() == [tpr[fpr <= x].max() for x in FPR_GRID]
    # The last point of scikit-learn's, precision 1 at recall 0, stands for no row.
    wanted = [precision[:-1][recall[:-1] >= x - 1e-9].max() for x in np.arange(1, 101) / 100]
    np.testing.assert_allclose(RECALL_GRID, np.arange(1, 101) / 100)
    np.testing.assert_allclose(found_precision, wanted)


def test_roc_curve_agrees_with_the_metric():
    labels, scores = draw_scores(1000, 500)
    curve = dict(zip(FPR_GRID, trace_curves(labels, scores)[0], strict=True))
    assert curve[1e-2] == measure_tpr(labels, scores, 1e-2)
    assert curve[1e-3] == measure_tpr(labels, scores, 1e-3)
    assert curve[1.0] == 1.0
