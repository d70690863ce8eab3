"""The leak detector: under shuffled train labels no out-of-fold AUC may say anything.

The val AUC would stay at 0.5 however badly the fold rows leak, so it is the fold rows that count.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from synthetic_world import (
    CANDIDATES,
    STRICTNESS,
    Plan,
    build_world,
    draw_columns,
    draw_noise,
    is_null,
    run_stages,
)

from features.core.manifest import count_classes
from features.settings.stacking import Stack
from stage2_ensemble.columns import basis
from stage2_ensemble.columns.basis import FoldBasis
from stage2_ensemble.columns.columns import FoldColumns
from stage2_ensemble.fitted.bundle import read_ensemble
from stage2_ensemble.gate import out_of_fold
from stage2_ensemble.gate.differences import measure_fold_aucs
from stage2_ensemble.gate.out_of_fold import BEST_SIMPLE, judge_candidates
from stage2_ensemble.models import boosted, candidates, forest
from stage2_ensemble.models.candidates import GATED, SIMPLE, fit_candidate, fit_candidates

SETTINGS = Stack(
    inner_folds=3,
    candidates=GATED,
    repeats=2,
    bags=1,
    pca_components=4,
    max_rounds=12,
    learning_rate=0.2,
    num_leaves=7,
)
ONCE = SETTINGS.model_copy(update={"repeats": 1})
ALL = (*SIMPLE, *GATED, BEST_SIMPLE)


@pytest.fixture(scope="module", autouse=True)
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "LEAST_ROWS", 50)
        patch.setattr(forest, "TREES", 40)
        yield


def find_leaks(folds: Sequence[FoldColumns], scores: dict[str, list[np.ndarray]]) -> set[str]:
    """Candidates whose AUC lies outside the null interval of its rows in any fold."""
    assert tuple(scores) == ALL
    return {
        name
        for name, by_fold in scores.items()
        if not all(is_null(c.labels, s) for c, s in zip(folds, by_fold, strict=True))
    }


def draw_shuffled(seed: int = 0, width: int = 10) -> list[FoldColumns]:
    return [draw_noise(k, 150, 250, seed=30 * k + seed, width=width) for k in (0, 1)]


def judge(folds: Sequence[FoldColumns], settings: Stack = ONCE) -> set[str]:
    return find_leaks(folds, judge_candidates(folds, settings, 0).scores)


@pytest.mark.parametrize("seed", range(5))
def test_honest_members_and_labels_that_mean_nothing(seed):
    assert judge(draw_shuffled(100 * seed), SETTINGS) == set()


def test_the_same_members_and_honest_labels_are_far_outside():
    folds = [draw_columns(k, 150, 250, seed=30 * k) for k in (0, 1)]
    for name, scores in judge_candidates(folds, ONCE, 0).scores.items():
        assert min(measure_fold_aucs(folds, scores)) > 0.75, name


@pytest.mark.parametrize("strength", [0.3, 2.0])
def test_members_that_learned_the_fold_rows_are_found_out(strength):
    folds = draw_shuffled()
    leaking = [
        replace(c, logits=c.logits + strength * (2.0 * c.labels[:, None] - 1)) for c in folds
    ]
    assert judge(leaking) >= {"mean", "logistic", BEST_SIMPLE}
    if strength > 1:
        assert judge(leaking) == set(ALL)


def test_one_leaking_embedding_is_found_out():
    folds = draw_shuffled()
    memory = (2.0 * folds[1].labels - 1)[:, None] * np.eye(1, 10) * 3
    embeddings = (*folds[1].embeddings[:2], (folds[1].embeddings[2] + memory).astype(np.float16))
    folds[1] = replace(folds[1], embeddings=embeddings)
    assert judge(folds) == set(GATED)  # the simple ones see no embedding


def test_one_leaking_forensic_column_is_found_out():
    folds = [
        replace(
            c,
            extras=(c.labels + np.random.default_rng(0).normal(size=len(c)))[:, None].astype("f4"),
            extra_names=("forensic:leak",),
        )
        for c in draw_shuffled()
    ]
    assert judge(folds) == set(GATED)


def test_class_means_of_all_rows_are_found_out(monkeypatch):
    """Distances of held-out rows by models that were fitted on them, too."""
    folds, real = draw_shuffled(width=40), basis._fit_axes
    settings = ONCE.model_copy(update={"pca_components": 40, "columns": ("distance:*",)})
    assert judge(folds, settings) == set()
    whole = {c.fold: real(c, settings, 0).axes for c in folds}

    def fit_once_for_all(columns, settings, seed):
        axes = whole[columns.fold]
        pairs = zip(axes, columns.embeddings, strict=True)
        distances = [a.distance.score(a.projection.apply(e)) for a, e in pairs]
        return FoldBasis(axes, real(columns, settings, seed).inner_folds, distances)

    monkeypatch.setattr(basis, "_fit_axes", fit_once_for_all)
    assert judge(folds, settings) == set(GATED)


@pytest.fixture
def restless(monkeypatch):
    """Boosting goes on for as long as it may, whatever held-out rows say."""
    monkeypatch.setattr(boosted, "find_rounds", lambda *args: [args[3]] * len(args[4]))


@pytest.mark.usefixtures("restless")
@pytest.mark.parametrize("name", GATED)
def test_a_model_that_scores_its_own_rows_is_found_out(name):
    folds = draw_shuffled()
    scores = judge_candidates(folds, ONCE, 0).scores
    model = fit_candidate(name, folds, ONCE, 0)
    assert find_leaks(folds, scores | {name: [model.score(c) for c in folds]}) == {name}


def fit_on_everything(folds, *names):
    """What `fit_candidates` gives, but those of these names have seen all rows."""

    def fit(wanted, rest, settings, seed):
        models, best = fit_candidates(wanted, rest, settings, seed)
        leaking, choice = fit_candidates(wanted, folds, settings, seed)
        models |= {name: leaking[name] for name in wanted if name in names}
        return models, choice if BEST_SIMPLE in names else best

    return fit


@pytest.mark.usefixtures("restless")
@pytest.mark.parametrize("name", GATED)
def test_parts_that_learn_from_the_held_out_rows_are_found_out(monkeypatch, name):
    folds = draw_shuffled()
    monkeypatch.setattr(out_of_fold, "fit_candidates", fit_on_everything(folds, name))
    assert judge(folds) == {name}


def draw_many(count: int = 40) -> list[FoldColumns]:
    """So many backbones that know nothing: on any rows the best of them looks as if it knew."""
    rng = np.random.default_rng(0)
    return [
        replace(
            c,
            logits=rng.normal(size=(len(c), count)),
            backbones=tuple(map(str, range(count))),
            embeddings=(np.zeros((len(c), 1), np.float16),) * count,
        )
        for c in draw_shuffled()
    ]


def test_a_choice_of_the_simple_one_that_sees_the_held_out_rows_is_found_out(monkeypatch):
    folds = draw_many()
    bare, names = ONCE.model_copy(update={"candidates": ()}), (*SIMPLE, BEST_SIMPLE)
    honest = judge_candidates(folds, bare, 0).scores
    assert all(is_null(c.labels, honest[n][i]) for n in names for i, c in enumerate(folds))
    monkeypatch.setattr(out_of_fold, "fit_candidates", fit_on_everything(folds, *names))
    leaking = judge_candidates(folds, bare, 0).scores
    found = {n for n in names for i, c in enumerate(folds) if not is_null(c.labels, leaking[n][i])}
    assert found >= {"greedy", "logistic", BEST_SIMPLE}


@pytest.mark.parametrize("name", GATED)
def test_splits_that_ignore_groups_are_found_out(name):
    # Every row stands there four times; labels are shuffled by group, as in a manifest.
    once = [draw_noise(k, 75, 125, seed=30 * k) for k in (0, 1)]
    folds = [columns.take(np.repeat(np.arange(200), 4)) for columns in once]
    loose = [replace(columns, groups=np.arange(800)) for columns in folds]
    settings = ONCE.model_copy(update={"candidates": (name,)})
    found = [
        all(is_null(c.labels, s[::4]) for c, s in zip(once, by_fold, strict=True))
        for by_fold in (judge_candidates(f, settings, 0).scores[name] for f in (folds, loose))
    ]
    assert found == [True, False]


def test_the_whole_stage_on_shuffled_labels(tmp_path):
    plan = Plan(active=(0, 1), reals=100, calibration=30, shuffled=True)
    world = build_world(tmp_path, plan)
    run_stages(world)
    ensemble = read_ensemble(tmp_path / "artifacts" / "stackers")
    for k in plan.active:
        reals, fakes = count_classes(world.train.labels[world.train.fold_rows(k)])
        error = np.sqrt((fakes + reals + 1) / (12 * fakes * reals))
        for name in CANDIDATES:
            assert abs(ensemble.oof_auc[name][k] - 0.5) <= STRICTNESS * error, (name, k)
