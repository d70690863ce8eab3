"""The share of fakes of unlabelled rows: found where only it differs, refused where more does."""

import json

import numpy as np
import pytest
from scipy.special import expit, logit
from simulated_scores import as_choice, as_unlabelled, draw_choice, draw_odds

from stage2_ensemble.decisions.prior_shift import (
    Prior,
    estimate_prior,
    invert_confusion,
    keep_train,
    maximise_likelihood,
    use_given,
)

TRAIN = 0.81


def draw_target(n: int, share: float, seed: int, distance: float = 3.0):
    """Labels, and log-odds at train's share of rows whose share of fakes is `share`."""
    labels, odds = draw_odds(n, share, distance, np.random.default_rng(seed))
    return labels, odds - logit(share) + logit(TRAIN)


def estimate(
    share: float, seed: int = 1, n: int = 2000, change=lambda labels, odds: odds, **kwargs
):
    labels, odds = draw_target(n, share, seed)
    held_out = draw_choice(kwargs.pop("held_out", 3000), TRAIN, seed=seed + 1000)
    rows = as_unlabelled(change(labels, odds), kwargs.pop("groups", None))
    return estimate_prior(rows, held_out, TRAIN, draws=200, seed=seed, **kwargs)


# --- the two estimates


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_likelihood_ends_where_the_em_of_saerens_ends(share):
    _, odds = draw_target(1000, share, 0, distance=2.0)
    prior = TRAIN
    for _ in range(3000):
        prior = float(expit(odds + logit(prior) - logit(TRAIN)).mean())
    assert maximise_likelihood(odds, np.ones(1000), TRAIN) == pytest.approx(prior, abs=1e-6)


def test_likelihood_counts_weights_as_rows():
    _, odds = draw_target(500, 0.6, 0)
    counts = np.random.default_rng(0).integers(0, 3, 500)
    weighted = maximise_likelihood(odds, counts.astype(float), TRAIN)
    repeated = np.repeat(odds, counts)
    assert weighted == pytest.approx(maximise_likelihood(repeated, np.ones(len(repeated)), TRAIN))


def test_likelihood_far_out_and_at_its_ends():
    ones = np.ones(4)
    far = np.array([-900.0, -900, 900, 900])
    assert maximise_likelihood(far, ones, TRAIN) == pytest.approx(0.5)
    assert maximise_likelihood(np.full(4, 9.0), ones, TRAIN) == 1
    assert maximise_likelihood(np.full(4, -9.0), ones, TRAIN) == 0


def test_confusion_matrix_by_hand():
    labels = np.repeat([0, 1], [10, 10])
    odds = np.repeat([-1.0, 1.0, -1.0, 1.0], [8, 2, 1, 9])  # FPR 0.2, TPR 0.9
    rows = np.repeat([-1.0, 1.0], [45, 55])
    held_out = as_choice(labels, odds)
    found = invert_confusion(rows, np.ones(100), held_out, np.ones(20), 0.5)
    assert found == pytest.approx((0.55 - 0.2) / 0.7)
    assert invert_confusion(rows, np.ones(100), held_out, labels * 1.0, 0.5) is None
    upside_down = as_choice(1 - labels, odds)
    assert invert_confusion(rows, np.ones(100), upside_down, np.ones(20), 0.5) is None


# --- pure label shift


@pytest.mark.parametrize("share", [0.1, 0.6, 0.9])
def test_the_share_is_found_and_held_by_its_interval(share):
    found = [estimate(share, seed) for seed in range(15)]
    assert sum(prior.source == "estimate" for prior in found) >= 13
    assert np.mean([prior.em for prior in found]) == pytest.approx(share, abs=0.01)
    assert sum(prior.em_low <= share <= prior.em_high for prior in found) >= 13
    used = next(prior for prior in found if prior.source == "estimate")
    assert used.value == used.em
    assert "agree" in used.reason


def test_few_held_out_rows_make_the_interval_wide():
    sure, unsure = (estimate(0.6, n=20_000, held_out=rows) for rows in (20_000, 400))
    assert unsure.em_high - unsure.em_low > 2 * (sure.em_high - sure.em_low)


def test_rows_of_a_group_count_once():
    _, odds = draw_target(600, 0.6, 3)
    held_out = draw_choice(20_000, TRAIN)
    alone = estimate_prior(as_unlabelled(odds), held_out, TRAIN, draws=200)
    copies = as_unlabelled(np.repeat(odds, 5), np.repeat(np.arange(600), 5))
    copied = estimate_prior(copies, held_out, TRAIN, draws=200)
    assert copied.em == pytest.approx(alone.em)
    width = alone.em_high - alone.em_low
    assert copied.em_high - copied.em_low == pytest.approx(width, rel=0.25)


def test_a_line_that_calibration_left_is_taken_away():
    labels, odds = draw_target(5000, 0.6, 0)
    held_out = draw_choice(20_000, TRAIN, seed=1)
    held_out = held_out.with_log_odds(2 * held_out.log_odds + 1)
    prior = estimate_prior(as_unlabelled(2 * odds + 1), held_out, TRAIN, draws=100)
    assert prior.em == pytest.approx(labels.mean(), abs=0.02)


def test_the_share_of_the_held_out_rows_plays_no_part():
    labels, odds = draw_odds(20_000, 0.5, 3.0, np.random.default_rng(1))
    held_out = as_choice(labels, odds + logit(TRAIN))  # half of them are fakes, unlike train
    _, rows = draw_target(5000, 0.6, 0)
    prior = estimate_prior(as_unlabelled(rows), held_out, TRAIN, draws=100)
    assert prior.em == pytest.approx(0.6, abs=0.02)


# --- refusals


def test_too_few_rows():
    prior = estimate(0.6, n=499)
    assert (prior.value, prior.source, prior.em) == (TRAIN, "train", None)
    assert prior.reason == "499 rows can be read; an estimate needs 500"


@pytest.mark.parametrize(("end", "kind"), [(-4.0, "fake"), (9.0, "real")])
def test_an_estimate_at_an_end(end, kind):
    prior = estimate(0.6, change=lambda labels, odds: np.full(len(odds), end))
    assert (prior.value, prior.source) == (TRAIN, "train")
    assert f"no row looks like a {kind}" in prior.reason


def test_scores_that_tell_nothing():
    rng = np.random.default_rng(0)
    held_out = as_choice(rng.integers(0, 2, 1000), np.full(1000, logit(TRAIN)))
    prior = estimate_prior(as_unlabelled(rng.normal(size=600)), held_out, TRAIN)
    assert prior.source == "train"
    assert "do not tell" in prior.reason


@pytest.mark.parametrize(
    "change",
    [lambda labels, odds: odds + 1.5, lambda labels, odds: odds - 2.25 * labels],
    ids=["all scores higher", "fakes half as easy"],
)
def test_estimates_disagree_where_more_than_the_share_changed(change):
    found = [estimate(0.6, seed, 20_000, change, held_out=10_000) for seed in range(8)]
    assert sum(prior.source == "train" for prior in found) >= 6
    refused = next(prior for prior in found if prior.source == "train")
    assert refused.value == TRAIN
    assert "disagree" in refused.reason
    assert not refused.difference_low <= 0 <= refused.difference_high


def test_fakes_that_look_real_are_not_seen():
    # What no estimate from scores can see; it is here so that nobody believes otherwise.
    def hide(labels, odds):
        reals = draw_target(len(odds), 0.001, 99)[1]
        return np.where((labels == 1) & (np.arange(len(odds)) % 3 == 0), reals, odds)

    prior = estimate(0.6, 5, 20_000, hide, held_out=20_000)
    assert prior.source == "estimate"
    assert prior.value == pytest.approx(0.4, abs=0.03)


# --- what becomes of log-odds


def test_probabilities_move_and_their_order_stays():
    odds = np.linspace(-5, 5, 11)
    assert keep_train(TRAIN).apply(odds) == pytest.approx(odds)
    moved = use_given(0.6, TRAIN).apply(odds)
    assert (np.diff(moved) > 0).all()
    assert expit(use_given(0.6, TRAIN).apply(np.array([logit(TRAIN)]))) == pytest.approx(0.6)
    _, odds = draw_target(50_000, 0.6, 0)
    assert expit(use_given(0.6, TRAIN).apply(odds)).mean() == pytest.approx(0.6, abs=0.01)


@pytest.mark.parametrize("prior", [keep_train(0.8), use_given(0.3, 0.8), estimate(0.6)])
def test_round_trip(prior):
    assert Prior.from_json(json.loads(json.dumps(prior.to_json()))) == prior
