"""Rows with scores: what they refuse, their weights at other class shares, bootstrap samples."""

import numpy as np
import pytest
from simulated_scores import as_choice, as_unlabelled, as_val, draw_choice

from features.errors import LeakageError
from features.settings.stacking import Decision
from stage2_ensemble.decisions.calibration import choose_calibration, cross_calibrate
from stage2_ensemble.decisions.conformal import fit_band
from stage2_ensemble.decisions.prior_shift import estimate_prior
from stage2_ensemble.decisions.scored_rows import resample_groups
from stage2_ensemble.decisions.threshold import choose_threshold

VAL = as_val([0, 1] * 300, np.zeros(600))


@pytest.mark.parametrize(
    "choose",
    [
        choose_calibration,
        lambda rows: cross_calibrate(rows, "platt"),
        lambda rows: choose_threshold(rows, Decision()),
        lambda rows: fit_band(rows, 0.1),
        lambda rows: estimate_prior(VAL, rows, 0.5),
    ],
    ids=["calibration", "hold_out", "threshold", "band", "prior"],
)
def test_nothing_is_chosen_on_val(choose):
    with pytest.raises(LeakageError, match=r"chosen on ValRows; rows 0, 1, 2.*600 rows"):
        choose(VAL)


def test_rows_are_checked():
    with pytest.raises(ValueError, match="finite"):
        as_unlabelled(np.array([0.0, np.nan]))
    with pytest.raises(ValueError, match="one length"):
        as_unlabelled(np.zeros(3), np.arange(2))
    with pytest.raises(ValueError, match="2 rows hold 0 reals and 2 fakes"):
        as_val([1, 1], [0, 0])
    with pytest.raises(ValueError, match="0 reals and 1 fakes"):
        as_val([1, -1], [0, 0])
    with pytest.raises(ValueError, match="weigh something"):
        as_choice([0, 1], [0, 0], weights=[0, 1])
    with pytest.raises(ValueError, match="not negative"):
        as_choice([0, 1], [0, 0], weights=[-1, 1])


def test_weights_at_other_class_shares():
    rows = as_choice([0, 0, 1, 1], np.zeros(4), weights=[1, 3, 2, 2])
    assert rows.prior == 0.5
    moved = rows.at_prior(0.9)
    assert moved.prior == pytest.approx(0.9)
    assert moved.weights.mean() == pytest.approx(1)
    assert moved.weights[1] == pytest.approx(3 * moved.weights[0])


def test_bootstrap_samples_draw_whole_groups():
    groups = np.array([7, 7, 7, -2, 5, 5])
    samples = list(resample_groups(groups, 400, 0))
    for counts in samples:
        assert counts[0] == counts[1] == counts[2]
        assert counts[[0, 3, 4]].sum() == 3
    assert np.mean(samples, axis=0) == pytest.approx(np.ones(6), abs=0.15)
    again = list(resample_groups(groups, 400, 0))
    np.testing.assert_array_equal(samples, again)


def test_a_draw_of_rows_has_the_odds_that_it_says():
    rows = draw_choice(20_000)
    high = (rows.log_odds > 1) & (rows.log_odds < 2)
    assert rows.labels[high].mean() == pytest.approx(1 / (1 + np.exp(-1.5)), abs=0.02)
