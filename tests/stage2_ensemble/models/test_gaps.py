"""Scores that are not there: what each combiner makes of a row with gaps, or of gaps at the fit."""

import json

import numpy as np
import pytest
from scipy.special import expit, logit
from synthetic_world import draw_columns

from stage2_ensemble.models.combiners import COMBINERS, BestSingle, Greedy, Logistic, Mean, RankMean
from stage2_ensemble.models.gaps import Standards, share_known

KINDS = pytest.mark.parametrize("kind", COMBINERS.values(), ids=COMBINERS)


def draw_table(share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds of three members with this share of gaps, and labels."""
    columns = draw_columns(reals=200, fakes=300, seed=seed)
    logits = columns.logits.copy()
    logits[np.random.default_rng(seed).random(logits.shape) < share] = np.nan
    return logits, columns.labels


def fit(kind, share: float = 0.2):
    logits, labels = draw_table(share)
    return kind().fit(logits, labels, np.ones(len(labels)))


@KINDS
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_whole_rows_score_as_if_no_other_had_gaps(kind, share):
    combiner = fit(kind, share)
    logits, _ = draw_table(0.4, seed=1)
    whole = ~np.isnan(logits).any(axis=1)
    np.testing.assert_array_equal(combiner.score(logits)[whole], combiner.score(logits[whole]))


@KINDS
def test_every_row_gets_a_score_that_survives_json(kind):
    combiner = fit(kind)
    logits, _ = draw_table(0.6, seed=1)
    assert np.isnan(logits).all(axis=1).any()
    scores = combiner.score(logits)
    assert np.isfinite(scores).all()
    back = kind.from_json(json.loads(json.dumps(combiner.to_json())))
    np.testing.assert_array_equal(back.score(logits), scores)


@KINDS
def test_what_is_there_decides_the_order_of_rows_with_gaps(kind):
    combiner = fit(kind)
    for place in range(3):
        rows = np.full((9, 3), np.nan)
        rows[:, place] = np.linspace(-4, 4, 9)
        assert (np.diff(combiner.score(rows)) > 0).all()


@KINDS
def test_what_backbones_add_is_the_score(kind):
    combiner = fit(kind)
    logits, _ = draw_table(0.4, seed=1)
    weighed = combiner.weigh(logits)
    if kind is RankMean:
        assert weighed is None
    else:
        rest = combiner.score(logits) - weighed.sum(axis=1)
        np.testing.assert_allclose(rest, getattr(combiner, "intercept_", 0.0), atol=1e-9)


def test_a_mean_is_of_what_is_there():
    rows = np.array([[1.0, 2.0, 6.0], [1.0, np.nan, 6.0], [np.nan, np.nan, 6.0], [np.nan] * 3])
    np.testing.assert_allclose(Mean().score(rows), [3.0, 3.5, 6.0, 0.0])


def test_greedy_shares_the_weights_out_anew():
    greedy = Greedy.from_json({"weights": [0.75, 0.25, 0.0]})
    rows = np.array([[4.0, 8.0, 1.0], [np.nan, 8.0, 1.0], [np.nan, np.nan, 1.0]])
    np.testing.assert_allclose(greedy.score(rows), [5.0, 8.0, 1.0])


def test_a_mean_of_ranks_is_of_those_that_are_there():
    combiner = fit(RankMean, share=0.0)
    logits, _ = draw_table(0.0, seed=1)
    alone = [RankMean.from_json({k: [v[i]] for k, v in combiner.to_json().items()}) for i in (0, 2)]
    ranks = [expit(own.score(logits[:, [i]])) for own, i in zip(alone, (0, 2), strict=True)]
    logits[:, 1] = np.nan
    np.testing.assert_allclose(combiner.score(logits), logit(np.mean(ranks, axis=0)))


def test_a_gap_is_as_far_from_the_mean_as_the_others_of_its_row():
    standards = Standards(np.array([0.0, 10.0, 1.0]), np.array([1.0, 2.0, 4.0]))
    rows = np.array([[1.0, np.nan, 13.0], [np.nan] * 3])
    np.testing.assert_allclose(standards.fill(rows), [[1.0, 14.0, 13.0], [0.0, 10.0, 1.0]])


@pytest.mark.parametrize("kind", [Logistic, BestSingle])
def test_a_member_that_scored_few_rows_is_not_the_best_for_that(kind):
    logits, labels = draw_table(0.0)
    few = np.full((len(labels), 1), np.nan)
    few[:2, 0], few[-2:, 0] = -5.0, 5.0  # in perfect order, on four rows
    combiner = kind().fit(np.concatenate([logits, few], axis=1), labels, np.ones(len(labels)))
    if kind is BestSingle:
        assert combiner.backbone_ != 3
    assert np.isfinite(combiner.score(np.concatenate([logits, few], axis=1))).all()


def test_weights_stay_where_there_are_no_gaps():
    weights, values = np.array([0.3, 0.7]), np.array([[2.0, 1.0], [np.nan, 1.0]])
    np.testing.assert_array_equal(share_known(values, weights)[0], values[0] * weights)


@KINDS
def test_a_member_without_any_score_at_the_fit_says_nothing(kind):
    logits, labels = draw_table(0.2)
    logits[:, 0] = np.nan
    combiner = kind().fit(logits, labels, np.ones(len(labels)))
    back = kind.from_json(json.loads(json.dumps(combiner.to_json())))
    assert np.isfinite(back.score(logits)).all()
    assert np.isfinite(back.score(draw_table(0.2, seed=1)[0])).all()
