"""Heads on embeddings that are made up."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from features.core.auc import find_auc
from features.errors import ManifestError
from stage1_cnn.frozen import head
from stage1_cnn.frozen.head import ALONE, STRENGTHS, fit_head


def draw(n=400, width=20, seed=0, strength=1.5):
    """Embeddings of uneven scales whose first three values tell the classes apart."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.7).astype(np.int8)
    rows = rng.normal(size=(n, width))
    rows[:, :3] += strength * (labels[:, None] - 0.5)
    return (rows * np.logspace(-2, 3, width) + 7).astype(np.float32), labels


def fit(rows, labels, weights=None, groups=None, seed=0):
    weights = np.ones(len(labels)) if weights is None else weights
    groups = np.arange(len(labels)) if groups is None else groups
    return fit_head(rows, labels, weights, groups, seed)


def test_it_tells_new_rows_apart_at_their_probabilities():
    fitted = fit(*draw())
    rows, labels = draw(4000, seed=1)
    scores = fitted.head.score(rows)
    assert find_auc(labels, scores.astype(np.float64)) > 0.93
    likely = expit(scores) > 0.8
    assert labels[likely].mean() == pytest.approx(expit(scores[likely]).mean(), abs=0.05)


def test_it_is_scikit_learns_model_on_standardised_rows_with_their_weights_folded_in():
    rows, labels = draw()
    weights = np.random.default_rng(2).uniform(0.5, 2, len(labels))
    fitted = fit(rows, labels, weights)
    shares = weights / weights.mean()
    mean = np.average(rows, axis=0, weights=shares)
    spread = np.sqrt(np.average((rows - mean) ** 2, axis=0, weights=shares))
    model = LogisticRegression(C=fitted.strength, tol=1e-10, max_iter=10_000)
    model.fit((rows - mean) / spread, labels, sample_weight=shares)
    wanted = model.decision_function((rows - mean) / spread)
    np.testing.assert_allclose(fitted.head.score(rows), wanted, atol=2e-3)


def test_embeddings_that_say_nothing_are_held_back_more_than_those_that_tell():
    telling, noise = fit(*draw(strength=4.0)), fit(*draw(strength=0.0))
    assert noise.strength < telling.strength
    assert len(telling.losses) == len(STRENGTHS)


def test_rows_of_a_group_are_left_out_together():
    """Each picture is there ten times: were its copies apart, learning them by heart would pay."""
    rows, labels = draw(60, width=200, strength=0.0)
    copies = np.repeat(np.arange(60), 10)
    rng = np.random.default_rng(3)
    many = rows[copies] + 1e-3 * rng.normal(size=(600, 200)).astype(np.float32)
    apart = fit(many, labels[copies])
    together = fit(many, labels[copies], groups=copies)
    assert together.strength < apart.strength


def test_more_rows_than_are_searched_choose_on_a_part(monkeypatch):
    rows, labels = draw(1000)
    seen = []
    real = head._fit_path

    def watch(rows, *rest):
        seen.append(len(rows))
        return real(rows, *rest)

    monkeypatch.setattr(head, "_fit_path", watch)
    monkeypatch.setattr(head, "SEARCHED", 250)
    fitted = fit(rows, labels)
    assert sorted(seen)[:-1] == pytest.approx([200] * 5, abs=5)
    assert sorted(seen)[-1] == 1000
    assert find_auc(*reversed((fitted.head.score(rows).astype(np.float64), labels))) > 0.9


def test_values_that_never_change_get_no_weight_and_same_rows_give_same_bytes():
    rows, labels = draw()
    rows[:, 4] = 3.25
    first, again = fit(rows, labels), fit(rows, labels)
    assert first.head.weight[4] == 0
    assert first.head.weight.tobytes() == again.head.weight.tobytes()
    assert first.head.bias == again.head.bias


def test_too_few_groups_to_choose_and_a_class_without_rows():
    rows, labels = draw(40)
    groups = np.where(labels == 1, 0, np.arange(40) + 1)  # all fakes are one group
    assert fit(rows, labels, groups=groups).strength == ALONE
    rows, labels = draw(120)
    reals, fakes = (np.flatnonzero(labels == label) for label in (0, 1))
    groups = np.full(120, 2)  # of two parts one is this group of fakes, the other all else
    groups[reals] = np.arange(len(reals)) >= 5
    groups[fakes[:15]] = np.arange(15) >= 10
    assert fit(rows, labels, groups=groups).strength == ALONE
    with pytest.raises(ManifestError, match="one class alone"):
        fit(rows, np.zeros(40, np.int8))
