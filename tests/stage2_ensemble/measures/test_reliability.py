"""Reliability tables: by hand, against scikit-learn, and where scores tie."""

import numpy as np
import pytest
from scipy.special import expit, logit
from simulated_scores import draw_choice
from sklearn.calibration import calibration_curve

from stage2_ensemble.measures.reliability import find_bins, measure_ece, tabulate_reliability


def find_ece(labels, log_odds, weights=None) -> float:
    return measure_ece(labels, log_odds, find_bins(log_odds, weights), weights)


def test_ece_by_hand():
    odds = logit(np.array([0.2, 0.2, 0.6, 0.6]))
    labels = np.array([0, 1, 1, 1], np.int8)
    table = tabulate_reliability(labels, odds)
    assert table.predicted == pytest.approx([0.2, 0.6])
    assert table.observed == pytest.approx([0.5, 1.0])
    assert find_ece(labels, odds) == pytest.approx((0.3 + 0.4) / 2)
    row = {"mass": 0.5, "predicted": pytest.approx(0.2), "observed": 0.5}
    assert table.to_rows()[0] == row


def test_bins_are_scikit_learns():
    rows = draw_choice(3000)
    table = tabulate_reliability(rows.labels, rows.log_odds)
    observed, predicted = calibration_curve(
        rows.labels, expit(rows.log_odds), n_bins=15, strategy="quantile"
    )
    assert table.mass == pytest.approx(np.full(15, 1 / 15))
    assert table.observed == pytest.approx(observed, abs=1e-9)
    assert table.predicted == pytest.approx(predicted, abs=1e-9)


def test_rows_of_equal_score_stay_together_in_whatever_order():
    odds = np.repeat([-1.0, 0.0, 2.0], [100, 800, 100])
    labels = np.tile([0, 1], 500).astype(np.int8)
    table = tabulate_reliability(labels, odds)
    assert table.mass == pytest.approx([0.1, 0.8, 0.1])
    order = np.argsort(labels, kind="stable")
    assert find_ece(labels[order], odds[order]) == pytest.approx(find_ece(labels, odds))


def test_the_table_holds_the_ece():
    rows = draw_choice(1000)
    table = tabulate_reliability(rows.labels, rows.log_odds, rows.weights)
    wanted = table.mass @ np.abs(table.predicted - table.observed)
    assert find_ece(rows.labels, rows.log_odds, rows.weights) == pytest.approx(wanted)


def test_a_weight_is_a_row_counted_so_often():
    rows = draw_choice(500)
    counts = np.random.default_rng(0).integers(0, 4, 500)
    repeated = (np.repeat(v, counts) for v in (rows.labels, rows.log_odds))
    weighted = find_ece(rows.labels, rows.log_odds, counts.astype(float))
    assert weighted == pytest.approx(find_ece(*repeated))


def test_over_confident_log_odds_have_an_error():
    rows = draw_choice(20_000)
    assert find_ece(rows.labels, 3 * rows.log_odds) > 0.02
    assert find_ece(rows.labels, rows.log_odds) < 0.01
