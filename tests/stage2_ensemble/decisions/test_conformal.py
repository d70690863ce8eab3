"""The band that is left to a person: its promise for each class on simulated rows."""

import json

import numpy as np
import pytest
from simulated_scores import as_choice, draw_choice

from features.errors import ConfigError
from stage2_ensemble.decisions.conformal import Band, fit_band


def measure_errors(draw, alpha: float, splits: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean shares of new reals called fake and of new fakes called real, and standard errors."""
    errors = []
    for seed in range(splits):
        rng = np.random.default_rng(seed)
        band = fit_band(draw(rng), alpha)
        new = draw(rng)
        answers = band.decide(new.log_odds)
        errors.append(
            [np.mean(answers[new.labels == v] == w) for v, w in ((0, "fake"), (1, "real"))]
        )
    return np.mean(errors, axis=0), np.std(errors, axis=0) / np.sqrt(splits)


def draw_rows(rng, distance: float = 2.0, digits: int = 9):
    labels = np.repeat([0, 1], [60, 150])
    scores = rng.normal(size=210) + labels * distance
    return as_choice(labels, scores.round(digits))


def draw_grouped(rng):
    """Groups of six whose rows share most of their score, and single rows."""
    groups = np.concatenate([np.repeat(np.arange(40), 6), np.arange(40, 80)])
    labels = (np.arange(80) % 2)[groups]
    scores = 2 * labels + rng.normal(size=80)[groups] + 0.3 * rng.normal(size=280)
    return as_choice(labels, scores, groups)


@pytest.mark.parametrize("distance", [0.5, 2.0, 6.0], ids=["hard", "usual", "easy"])
@pytest.mark.parametrize("alpha", [0.05, 0.1])
def test_both_classes_keep_the_promise(distance, alpha):
    errors, noise = measure_errors(lambda rng: draw_rows(rng, distance), alpha, 600)
    assert (errors <= alpha + 3 * noise).all()


def test_where_rows_overlap_the_promise_is_used_up():
    errors, noise = measure_errors(lambda rng: draw_rows(rng, 0.5), 0.1, 600)
    exact = np.floor(0.1 * np.array([61, 151])) / [61, 151]
    assert errors == pytest.approx(exact, abs=3 * noise.max())


def test_ties_break_no_promise():
    errors, noise = measure_errors(lambda rng: draw_rows(rng, 1.0, digits=0), 0.1, 600)
    assert (errors <= 0.1 + 3 * noise).all()


def test_groups_keep_the_promise_and_single_rows_would_not():
    groups, alone = [], []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        rows, new = draw_grouped(rng), draw_grouped(rng)
        fakes = new.labels == 1
        wrong = fit_band(rows, 0.1).decide(new.log_odds[fakes]) == "real"
        groups.append(len(np.unique(new.groups[fakes][wrong])) / 40)
        loose = fit_band(as_choice(rows.labels, rows.log_odds), 0.1)
        wrong = loose.decide(new.log_odds[fakes]) == "real"
        alone.append(len(np.unique(new.groups[fakes][wrong])) / 40)
    noise = np.std(groups) / 20
    assert np.mean(groups) <= 0.1 + 3 * noise
    assert np.mean(groups) == pytest.approx(4 / 41, abs=3 * noise)
    assert np.mean(alone) > 0.11


def test_thresholds_by_hand():
    labels = np.repeat([0, 1], [20, 20])
    rows = as_choice(labels, np.concatenate([np.arange(20.0), np.arange(10.0, 30)]))
    band = fit_band(rows, 0.1)  # floor(0.1 x 21) = 2: the second highest real, second lowest fake
    assert (band.real_until, band.fake_from) == (18, 11)
    assert band.decide(np.array([10.9, 11, 18, 18.1])).tolist() == [
        "real",
        "review",
        "review",
        "fake",
    ]
    assert band.reviewed_reals.value == 8 / 20
    assert (band.reals, band.fakes) == (20, 20)


def test_between_separate_classes_neither_label_fits():
    labels = np.repeat([0, 1], 20)
    band = fit_band(as_choice(labels, np.where(labels == 1, 5.0, -5.0) + np.arange(40) / 100), 0.1)
    assert band.real_until < band.fake_from
    assert band.decide(np.array([-5.0, 0.0, 6.0])).tolist() == ["real", "review", "fake"]
    may_be_real, may_be_fake = band.find_sets(np.zeros(1))
    assert not may_be_real[0]
    assert not may_be_fake[0]


@pytest.mark.parametrize(("reals", "alpha", "allowed"), [(20, 0.05, True), (19, 0.05, False)])
def test_too_few_groups_are_refused(reals, alpha, allowed):
    labels = np.repeat([0, 1], [reals, 100])
    rows = as_choice(labels, np.arange(reals + 100.0))
    if allowed:
        fit_band(rows, alpha)
        return
    with pytest.raises(ConfigError, match="needs 20 groups of reals, the rows hold 19") as caught:
        fit_band(rows, alpha)
    assert caught.value.count == 1


def test_round_trip():
    band = fit_band(draw_choice(500), 0.1)
    assert Band.from_json(json.loads(json.dumps(band.to_json()))) == band
