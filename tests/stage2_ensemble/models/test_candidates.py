"""Everything that may ship: what is among it, and what each learns from."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_world import draw_columns, hold_out, spare

from features.errors import LeakageError
from features.settings.stacking import Stack
from stage2_ensemble.models import candidates, forest
from stage2_ensemble.models.best_simple import pick_simple
from stage2_ensemble.models.boosted import Boosted, FoldModels
from stage2_ensemble.models.candidates import (
    GATED,
    LEAST_ROWS,
    SIMPLE,
    Pooled,
    fit_candidate,
    fit_candidates,
    list_fittable,
)
from stage2_ensemble.models.combiners import COMBINERS
from stage2_ensemble.models.forest import Forest

SETTINGS = Stack(
    inner_folds=3, pca_components=3, max_rounds=5, learning_rate=0.3, num_leaves=7, bags=1
)
KINDS = dict.fromkeys(SIMPLE, Pooled) | dict.fromkeys(GATED, Boosted)
KINDS |= {"lightgbm_pca": FoldModels, "random_forest": Forest}


@pytest.fixture(scope="module")
def folds():
    return [draw_columns(0), draw_columns(1, seed=50)]


@pytest.fixture(scope="module")
def models(folds):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forest, "TREES", 20)
        return {name: fit_candidate(name, folds, SETTINGS, 0) for name in (*SIMPLE, *GATED)}


def list_sized(*sizes: tuple[int, int], declared=GATED) -> tuple[str, ...]:
    folds = [draw_columns(k, *size) for k, size in enumerate(sizes)]
    return list_fittable(folds, SETTINGS.model_copy(update={"candidates": declared}))


# --- which there are


def test_they_stand_from_simple_to_complex():
    assert SIMPLE == ("mean", "rank_mean", "greedy", "logistic", "best_single")
    assert set(SIMPLE) == set(COMBINERS)
    assert GATED == ("lightgbm", "lightgbm_pca", "random_forest")
    assert set(Stack().candidates) <= set(GATED)


@pytest.mark.parametrize("sizes", [(LEAST_ROWS, 800), (800, LEAST_ROWS)])
def test_components_of_embeddings_need_many_rows_of_both_classes(sizes):
    reals, fakes = sizes
    assert LEAST_ROWS == 500
    assert list_sized(sizes, sizes) == (*SIMPLE, *GATED)
    without = (*SIMPLE, "lightgbm", "random_forest")
    for fewer in ((reals - (reals == 500), fakes - (fakes == 500)), (10, 10)):
        assert list_sized(fewer) == without
        assert list_sized(sizes, fewer) == without  # in every fold
        assert list_sized(fewer, sizes) == without


@pytest.mark.parametrize(
    "declared", [(), ("random_forest",), ("random_forest", "lightgbm"), ("lightgbm_pca",)]
)
def test_only_declared_ones_are_there_in_one_order(declared):
    wanted = tuple(name for name in GATED if name in declared)
    assert list_sized((LEAST_ROWS, LEAST_ROWS), declared=declared) == SIMPLE + wanted


# --- what each is


@pytest.mark.parametrize("name", [*SIMPLE, *GATED])
def test_each_is_of_its_kind_and_knows_something(models, name):
    new = draw_columns(1, seed=300)
    scores = models[name].score(hold_out(new))
    assert type(models[name]) is KINDS[name]
    assert scores.shape == (200,)
    assert scores.dtype == np.float64
    assert scores[new.labels == 1].mean() > scores[new.labels == 0].mean() + 0.5


def test_a_forest_is_one_and_boosting_is_none(models):
    for name in ("random_forest", "lightgbm"):
        text = models[name].boosters[0].model_to_string()
        assert ("average_output" in text) == (name == "random_forest")


def test_components_are_seen_by_one_candidate_alone(models):
    for fold, model in models["lightgbm_pca"].models.items():
        assert fold in (0, 1)
        assert [n for n in model.table.names if n.startswith("pca:")]
    for name in ("lightgbm", "random_forest"):
        assert not [n for n in models[name].table.names if n.startswith("pca:")]


@pytest.mark.parametrize("names", [SIMPLE, ("mean", "lightgbm"), ("random_forest",), GATED])
def test_together_they_are_as_each_alone_beside_the_best_simple_one(
    folds, models, names, monkeypatch
):
    monkeypatch.setattr(forest, "TREES", 20)
    shared = {"fit_basis": 0, "fit_start": 0}
    for name in shared:
        real = getattr(candidates, name)

        def count(*args, name=name, real=real):
            shared[name] += 1
            return real(*args)

        monkeypatch.setattr(candidates, name, count)
    found, best = fit_candidates(names, folds, SETTINGS, 0)
    assert set(shared.values()) == {int(names != SIMPLE)}  # once for all of them
    assert best.to_json() == pick_simple(folds, SETTINGS, 0).to_json()
    assert tuple(found) == names
    new = hold_out(draw_columns(1, seed=300))
    for name in names:
        np.testing.assert_array_equal(found[name].score(new), models[name].score(new))


@pytest.mark.parametrize("name", SIMPLE)
def test_simple_ones_learn_from_the_log_odds_of_all_folds(folds, models, name):
    logits, labels, weights = (
        np.concatenate([getattr(c, part) for c in folds])
        for part in ("logits", "labels", "weights")
    )
    wanted = COMBINERS[name]().fit(logits, labels, weights).score(logits)
    bare = [replace(c, embeddings=()) for c in folds]
    np.testing.assert_array_equal(
        np.concatenate([models[name].score(columns) for columns in bare]), wanted
    )


@pytest.mark.parametrize("name", [*SIMPLE, *GATED])
def test_none_is_fitted_on_rows_that_are_held_out(folds, name):
    held = hold_out(folds[1])
    spared = spare(folds[1])
    for forbidden in (held, spared):
        with pytest.raises(LeakageError, match=type(forbidden).__name__):
            fit_candidate(name, [folds[0], forbidden], SETTINGS, 0)
