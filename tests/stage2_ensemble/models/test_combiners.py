"""Pooled combiners: what each does with columns, and their way through JSON."""

import json

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score
from synthetic_world import draw_columns

from stage2_ensemble.models.combiners import (
    CHOICES,
    COMBINERS,
    BestSingle,
    Greedy,
    Logistic,
    Mean,
    RankMean,
)


def draw_table(n: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    columns = draw_columns(reals=n // 3, fakes=n - n // 3, seed=seed)
    return columns.logits, columns.labels


def fit(kind, logits, labels, weights=None):
    return kind().fit(logits, labels, np.ones(len(labels)) if weights is None else weights)


@pytest.mark.parametrize("kind", COMBINERS.values(), ids=COMBINERS)
def test_json_round_trip_is_exact(kind):
    logits, labels = draw_table()
    new, _ = draw_table(seed=5)
    combiner = fit(kind, logits, labels)
    back = kind.from_json(json.loads(json.dumps(combiner.to_json())))
    np.testing.assert_array_equal(back.score(new * 3), combiner.score(new * 3))


@pytest.mark.parametrize("kind", COMBINERS.values(), ids=COMBINERS)
def test_one_image_scores_as_in_a_batch(kind):
    logits, labels = draw_table()
    combiner = fit(kind, logits, labels)
    alone = np.concatenate([combiner.score(row[None]) for row in logits[:20] * 2])
    np.testing.assert_allclose(alone, combiner.score(logits[:20] * 2), rtol=1e-13)


@pytest.mark.parametrize("kind", COMBINERS.values(), ids=COMBINERS)
def test_no_rows_give_no_scores(kind):
    logits, labels = draw_table()
    assert fit(kind, logits, labels).score(np.empty((0, 3))).shape == (0,)


@pytest.mark.parametrize("kind", COMBINERS.values(), ids=COMBINERS)
def test_one_backbone_keeps_its_order(kind):
    logits, labels = draw_table()
    scores = fit(kind, logits[:, :1], labels).score(logits[:, :1])
    np.testing.assert_array_equal(rankdata(scores), rankdata(logits[:, 0]))


def test_mean():
    assert Mean().score(np.array([[1.0, 3.0], [-2.0, 0.0]])).tolist() == [2.0, -1.0]


# --- rank mean


def test_rank_mean_by_hand():
    logits = np.array([[1.0, 10.0], [2.0, 30.0], [5.0, 20.0]])
    scores = fit(RankMean, logits, np.array([0, 1, 1])).score(logits)
    ranks = (np.array([[1, 1], [2, 3], [3, 2]]) - 0.5) / 3
    np.testing.assert_allclose(expit(scores), ranks.mean(axis=1), rtol=1e-12)


@pytest.mark.parametrize(
    "change", [np.exp, np.cbrt, lambda x: 100 * x + 7], ids=["exp", "cbrt", "x"]
)
def test_rank_mean_knows_only_the_order_of_a_column(change):
    logits, labels = draw_table()
    changed = np.column_stack([change(logits[:, 0]), logits[:, 1:]])
    before = fit(RankMean, logits, labels).score(logits)
    np.testing.assert_allclose(fit(RankMean, changed, labels).score(changed), before, rtol=1e-9)


def test_rank_mean_rises_with_each_column():
    logits, labels = draw_table(3000)  # more rows than there are knots
    combiner = fit(RankMean, logits, labels)
    steps = np.linspace(-6, 6, 500)
    for column in range(3):
        rows = np.tile(np.array([0.3, -0.4, 0.1]), (len(steps), 1))
        rows[:, column] = steps
        assert (np.diff(combiner.score(rows)) > 0).all()


def test_rank_mean_keeps_its_precision_between_knots():
    logits, labels = draw_table(3000)
    scores = fit(RankMean, logits, labels).score(logits)
    ranks = np.mean([(rankdata(column) - 0.5) / len(logits) for column in logits.T], axis=0)
    np.testing.assert_allclose(expit(scores), ranks, atol=1e-3)


@pytest.mark.parametrize("side", [-1, 1])
def test_rank_mean_ties_no_rows_beyond_the_known_range(side):
    logits, labels = draw_table()
    steps = np.arange(5.0, 500.0)
    scores = fit(RankMean, logits, labels).score(side * np.tile(steps[:, None], 3))
    assert np.isfinite(scores).all()
    assert (np.diff(side * scores) > 0).all()


def test_rank_mean_treats_both_ends_alike():
    column = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    combiner = fit(RankMean, column, np.array([0, 0, 1, 1]))
    far = np.array([[3.0], [30.0], [300.0]])
    np.testing.assert_allclose(combiner.score(-far), -combiner.score(far), rtol=1e-12)


def test_rank_mean_of_a_constant_column_says_nothing_there():
    logits, labels = draw_table()
    logits[:, 0] = 0.25
    scores = fit(RankMean, logits, labels).score(logits)
    alone = fit(RankMean, logits[:, 1:], labels).score(logits[:, 1:])
    np.testing.assert_array_equal(rankdata(scores.round(9)), rankdata(alone.round(9)))


# --- logistic


def test_logistic_recovers_a_known_combination():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(60_000, 3)) * [1, 20, 0.1]
    truth = logits @ [1.5, -0.04, 6.0] - 0.8
    labels = (rng.random(len(truth)) < expit(truth)).astype(np.int8)
    combiner = fit(Logistic, logits, labels)
    np.testing.assert_allclose(combiner.coefficients_, [1.5, -0.04, 6.0], rtol=0.05)
    assert combiner.intercept_ == pytest.approx(-0.8, abs=0.05)


def test_logistic_is_free_of_scale():
    logits, labels = draw_table()
    scaled = logits * [1000, 1e-3, 1] + [5, 0, -3]
    before = fit(Logistic, logits, labels).score(logits)
    np.testing.assert_allclose(fit(Logistic, scaled, labels).score(scaled), before, atol=1e-3)


def test_logistic_uses_weights():
    logits, labels = draw_table(600)
    wrong = np.arange(len(labels)) % 2 == 0
    flipped = np.where(wrong, 1 - labels, labels)
    trusting = fit(Logistic, logits, flipped)
    wary = fit(Logistic, logits, flipped, np.where(wrong, 1e-6, 1.0))
    assert np.abs(trusting.score(logits)).mean() < 0.5  # half of its labels are wrong
    assert roc_auc_score(labels, wary.score(logits)) > 0.8
    assert np.abs(wary.score(logits)).mean() > 1


def test_logistic_ignores_a_constant_column():
    logits, labels = draw_table()
    with_it = np.column_stack([logits, np.full(len(logits), 0.1)])
    combiner = fit(Logistic, with_it, labels)
    alone = fit(Logistic, logits, labels).score(logits)
    np.testing.assert_allclose(combiner.score(with_it), alone, atol=1e-6)
    with_it[:, 3] += np.linspace(-3, 3, len(logits))  # on other rows it may vary
    np.testing.assert_allclose(combiner.score(with_it), alone, atol=0.1)


# --- best single


def test_best_single_picks_the_strongest_backbone():
    logits, labels = draw_table(900)
    np.testing.assert_array_equal(fit(BestSingle, logits, labels).score(logits), logits[:, 1])
    np.testing.assert_array_equal(
        fit(BestSingle, logits[:, ::-1], labels).score(logits), logits[:, 1]
    )
    moved = logits[:, [1, 0, 2]]
    np.testing.assert_array_equal(fit(BestSingle, moved, labels).score(moved), logits[:, 1])


def test_best_single_of_equals_is_the_first():
    logits, labels = draw_table()
    twice = logits[:, [0, 0]]
    assert fit(BestSingle, twice, labels).backbone_ == 0


# --- greedy selection


def select_by_hand(logits: np.ndarray, labels: np.ndarray) -> list[int]:
    """Columns in the order of their choice, by scikit-learn's AUC."""
    chosen: list[int] = []
    for _ in range(CHOICES):
        aucs = []
        for column in range(logits.shape[1]):
            together = logits[:, [*chosen, column]].sum(axis=1).round(9)
            aucs.append(round(roc_auc_score(labels, together), 12))
        chosen.append(int(np.argmax(aucs)))
    return chosen


@pytest.mark.parametrize("seed", range(4))
def test_greedy_adds_what_helps_most_again_and_again(seed):
    logits, labels = draw_table(120, seed=seed)
    logits = logits.round(3)
    chosen = select_by_hand(logits, labels)
    weights = np.bincount(chosen, minlength=3) / CHOICES
    combiner = fit(Greedy, logits, labels)
    np.testing.assert_array_equal(combiner.weights_, weights)
    np.testing.assert_allclose(combiner.score(logits), logits @ weights)
    assert len(set(chosen)) < len(chosen) == 20  # with replacement


def test_greedy_weights_are_shares():
    logits, labels = draw_table()
    weights = fit(Greedy, logits, labels).weights_
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    np.testing.assert_array_equal(weights * CHOICES, (weights * CHOICES).round())


def test_greedy_starts_with_the_strongest_backbone():
    logits, labels = draw_table(900)
    for places in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
        weights = fit(Greedy, logits[:, places], labels).weights_
        assert np.argmax(weights) == places.index(1)


def test_greedy_leaves_out_what_says_nothing():
    logits, labels = draw_table(900)
    noise = np.random.default_rng(0).normal(size=(900, 3)) * 3
    weights = fit(Greedy, np.column_stack([noise, logits]), labels).weights_
    assert weights[:3].sum() <= 1 / CHOICES


def test_greedy_loses_nothing_by_a_constant_column():
    logits, labels = draw_table(900)
    with_it = np.column_stack([logits, np.full(900, 7.0)])
    scores = fit(Greedy, with_it, labels).score(with_it)
    best = max(roc_auc_score(labels, column) for column in logits.T)
    assert roc_auc_score(labels, scores) > best


def test_greedy_of_equals_is_the_first():
    logits, labels = draw_table()
    assert fit(Greedy, logits[:, [0, 0]], labels).weights_.tolist() == [1, 0]


def test_greedy_is_no_worse_than_the_best_single_on_the_rows_it_saw():
    for seed in range(5):
        logits, labels = draw_table(150, seed=seed)
        aucs = [
            roc_auc_score(labels, fit(kind, logits, labels).score(logits))
            for kind in (Greedy, BestSingle)
        ]
        assert aucs[0] >= aucs[1] - 1e-9
