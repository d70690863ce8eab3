"""Reliability tables: by hand, against scikit-learn, and where scores tie."""

import numpy as np
import pytest
from scipy.special import expit, logit
from simulated_scores import draw_choice
from sklearn.calibration import calibration_curve

from stage2_ensemble.metrics import find_bins, measure_ece
from stage2_ensemble.reliability import compare_reliability, tabulate_reliability


def test_ece_by_hand():
    odds = logit(np.array([0.2, 0.2, 0.6, 0.6]))
    table = tabulate_reliability(np.array([0, 1, 1, 1], np.int8), odds, bins=2)
    assert table.predicted == pytest.approx([0.2, 0.6])
    assert table.observed == pytest.approx([0.5, 1.0])
    assert table.ece == pytest.approx((0.3 + 0.4) / 2)
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
    assert tabulate_reliability(labels[order], odds[order]).ece == pytest.approx(table.ece)


def test_ece_is_that_of_the_metrics():
    rows = draw_choice(1000)
    wanted = measure_ece(rows.labels, rows.log_odds, find_bins(rows.log_odds))
    assert tabulate_reliability(rows.labels, rows.log_odds).ece == pytest.approx(wanted)


def test_a_weight_is_a_row_counted_so_often():
    rows = draw_choice(500)
    counts = np.random.default_rng(0).integers(0, 4, 500)
    weighted = tabulate_reliability(rows.labels, rows.log_odds, counts.astype(float))
    repeated = (np.repeat(v, counts) for v in (rows.labels, rows.log_odds))
    assert weighted.ece == pytest.approx(tabulate_reliability(*repeated).ece)


def test_before_and_after():
    rows = draw_choice(20_000)
    tables = compare_reliability(rows.labels, 3 * rows.log_odds, rows.log_odds)
    assert tables["before"].ece > 0.02
    assert tables["after"].ece < 0.01
