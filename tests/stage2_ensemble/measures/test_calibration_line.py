"""The calibration line: against scikit-learn, how often its intervals hold, and where it ends."""

from dataclasses import astuple

import numpy as np
import pytest
from scipy.special import expit
from simulated_scores import draw_odds
from sklearn.linear_model import LogisticRegression

from stage2_ensemble.measures.calibration_line import judge_line


def test_it_is_a_logistic_regression():
    labels, odds = draw_odds(3000, 0.8, 3.0, np.random.default_rng(0))
    found = judge_line(labels, odds, np.arange(3000))
    peer = LogisticRegression(C=np.inf, tol=1e-8).fit(odds[:, None], labels)
    assert found["intercept"].value == pytest.approx(peer.intercept_[0], abs=1e-3)
    assert found["slope"].value == pytest.approx(peer.coef_[0, 0], abs=1e-3)


def test_of_many_rows_intervals_are_those_of_its_errors():
    found = [
        judge_line(*draw_odds(1000, 0.8, 3.0, np.random.default_rng(seed)), np.arange(1000))
        for seed in range(150)
    ]
    for name in ("intercept", "slope"):
        parts = [line[name] for line in found]
        spread = np.std([part.value for part in parts])
        widths = [part.high - part.low for part in parts]
        assert np.mean(widths) == pytest.approx(2 * 1.96 * spread, rel=0.15)
        assert 0.9 <= np.mean([part.holds for part in parts]) <= 0.99


def test_copies_of_rows_tell_no_more_than_the_rows():
    labels, odds = draw_odds(300, 0.5, 3.0, np.random.default_rng(1))
    alone = judge_line(labels, odds, np.arange(300))
    copied = judge_line(*(np.repeat(rows, 6) for rows in (labels, odds, np.arange(300))))
    for name, part in alone.items():
        assert copied[name].value == pytest.approx(part.value)
        width = copied[name].high - copied[name].low
        assert width == pytest.approx(part.high - part.low, rel=0.2)


def test_its_place_does_not_matter():
    labels, odds = draw_odds(300, 0.5, 3.0, np.random.default_rng(2))
    near, far = (judge_line(labels, odds + move, np.arange(300)) for move in (0.0, 40.0))
    assert astuple(near["slope"])[:3] == pytest.approx(astuple(far["slope"])[:3], rel=1e-3)
    moved = near["intercept"].value - 40 * near["slope"].value
    assert far["intercept"].value == pytest.approx(moved)


@pytest.mark.parametrize("side", [1, -1])
def test_where_scores_part_the_classes_it_has_no_end(side):
    labels = np.repeat([0, 1], 50).astype(np.int8)
    found = judge_line(labels, side * np.where(labels == 1, 9.0, -9.0), np.arange(100))
    assert {part.value for part in found.values()} == {None}
    assert found["slope"].holds == (side == 1)


def test_equal_scores_say_nothing_of_a_slope():
    labels = np.tile([0, 1], 50).astype(np.int8)
    found = judge_line(labels, np.zeros(100), np.arange(100))
    assert found["slope"].value is None
    assert found["slope"].holds
    assert found["intercept"].holds


def test_one_group_shows_nothing():
    rng = np.random.default_rng(3)
    odds = rng.normal(size=200)
    labels = (rng.random(200) < expit(3 * odds)).astype(np.int8)
    found = judge_line(labels, odds, np.zeros(200, np.int64))["slope"]
    assert found.value > 1
    assert (found.low, found.high, found.holds) == (None, None, True)
