"""Which calibration is chosen, what it does on new rows, and what it does not touch."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logit
from simulated_scores import as_choice, draw_choice, draw_odds

from stage2_ensemble.decisions.calibration import Calibration, choose_calibration, cross_calibrate
from stage2_ensemble.measures.reliability import find_bins, measure_ece

DISTORTIONS = {
    "identity": lambda odds: odds,
    "temperature": lambda odds: 3 * odds,
    "platt": lambda odds: 3 * odds + 2,
    "isotonic": lambda odds: odds + odds**3 / 3,
}


@pytest.mark.parametrize("name", DISTORTIONS)
def test_over_confident_scores_hold_on_new_rows(name):
    rows, new = draw_choice(50_000, seed=1), draw_choice(50_000, seed=2)
    distort = DISTORTIONS[name]
    calibration = choose_calibration(rows.with_log_odds(distort(rows.log_odds)))
    assert calibration.calibrator.name == name
    before, after = (
        measure_ece(new.labels, odds, find_bins(odds))
        for odds in (distort(new.log_odds), calibration.apply(distort(new.log_odds)))
    )
    assert after <= 0.01
    assert before > 0.02 or name == "identity"
    assert calibration.ece_before == pytest.approx(before, abs=0.005)
    assert calibration.ece_after == pytest.approx(after, abs=0.005)


def test_the_simplest_wins_where_the_others_gain_no_more_than_noise():
    chosen = [choose_calibration(draw_choice(400, seed=s)).calibrator.name for s in range(20)]
    assert chosen.count("identity") >= 15
    assert "isotonic" not in chosen
    scaled = [draw_choice(400, seed=s) for s in range(20)]
    scaled = [rows.with_log_odds(4 * rows.log_odds) for rows in scaled]
    chosen = [choose_calibration(rows).calibrator.name for rows in scaled]
    assert chosen.count("temperature") >= 15


def test_rows_of_a_group_never_calibrate_each_other():
    # Each group has a score and a label of its own: isotonic learns them by heart.
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 20)
    labels, odds = (np.arange(60) % 2)[groups], rng.normal(size=60)[groups]
    rows = as_choice(labels, odds + rng.normal(size=1200) * 1e-9, groups)
    by_group = choose_calibration(rows)
    by_row = choose_calibration(replace(rows, groups=np.arange(1200)))
    assert by_row.losses["isotonic"] < np.log(2) - 0.005
    assert by_group.losses["isotonic"] > np.log(2)


def test_a_group_counts_once_in_what_is_noise():
    grouped, loose = [], []
    for seed in range(10):
        rows = draw_choice(200, seed=seed)
        copies = (np.repeat(v, 20) for v in (rows.labels, rows.log_odds, np.arange(200)))
        many = as_choice(*copies)
        grouped.append(choose_calibration(many).calibrator.name)
        loose.append(choose_calibration(replace(many, groups=np.arange(4000))).calibrator.name)
    assert grouped.count("identity") >= 7
    assert loose.count("isotonic") >= 7  # it knows the copies


def test_too_few_groups_leave_scores_alone():
    rows = draw_choice(200)
    rows = replace(rows, groups=np.where(rows.labels == 1, np.arange(200), np.arange(200) % 4))
    rows = rows.with_log_odds(5 * rows.log_odds)
    calibration = choose_calibration(rows)
    assert calibration.calibrator.name == "identity"
    assert "4 groups" in calibration.reason
    np.testing.assert_array_equal(calibration.apply(rows.log_odds), rows.log_odds)
    assert cross_calibrate(rows, "platt") is rows


def test_the_share_of_fakes_is_that_of_the_weights():
    labels, odds = draw_odds(20_000, 0.5, 2.0, np.random.default_rng(0))
    calibration = choose_calibration(as_choice(labels, odds).at_prior(0.81))
    assert calibration.apply(np.zeros(1))[0] == pytest.approx(logit(0.81), abs=0.05)


def test_held_out_log_odds_are_of_other_rows():
    rows = draw_choice(2000)
    held_out = cross_calibrate(rows, "isotonic")
    inside = choose_calibration(rows)
    loss = np.logaddexp(0, np.where(rows.labels == 1, -1, 1) * held_out.log_odds).mean()
    assert loss == pytest.approx(inside.losses["isotonic"])


def test_round_trip():
    rows = draw_choice(1000)
    rows = rows.with_log_odds(DISTORTIONS["isotonic"](rows.log_odds))
    calibration = choose_calibration(rows)
    back = Calibration.from_json(json.loads(json.dumps(calibration.to_json())))
    assert back.to_json() == calibration.to_json()
    new = np.linspace(-9, 9, 50)
    np.testing.assert_array_equal(back.apply(new), calibration.apply(new))
