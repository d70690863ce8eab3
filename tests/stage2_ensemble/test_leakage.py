"""The leak detector: under shuffled train labels no inner out-of-fold AUC may say anything.

The val AUC would stay at 0.5 however badly the fold rows leak, so it is the fold rows that count.
"""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from synthetic_world import Plan, build_world, draw_columns, run_stages

from features.manifest import count_classes
from features.stack_params import Stack
from stage2_ensemble import inner
from stage2_ensemble.bundle import read_ensemble
from stage2_ensemble.columns import FoldColumns
from stage2_ensemble.ensemble import CANDIDATES
from stage2_ensemble.inner import fit_candidates

ROOT = Path(__file__).parents[2]
SETTINGS = Stack(inner_folds=4, pca_components=4, max_rounds=20, learning_rate=0.2, num_leaves=7)
STRICTNESS = 3.3
"""Standard errors either side of 0.5: an honest candidate is outside once in a thousand times."""


def check_null(folds: Sequence[FoldColumns], scores: dict[str, list[np.ndarray]]) -> None:
    """Fails if any candidate's AUC in any fold lies outside the null interval of its rows."""
    assert set(scores) == set(CANDIDATES)
    for name, by_fold in scores.items():
        for columns, score in zip(folds, by_fold, strict=True):
            reals, fakes = count_classes(columns.labels)
            error = np.sqrt((fakes + reals + 1) / (12 * fakes * reals))
            auc = roc_auc_score(columns.labels, score)
            assert abs(auc - 0.5) <= STRICTNESS * error, f"{name}, fold {columns.fold}: {auc:.3f}"


def shuffle(columns: FoldColumns, seed: int) -> FoldColumns:
    """What honest members say about rows whose labels were shuffled before folding."""
    labels = np.random.default_rng(seed).permutation(columns.labels)
    return replace(columns, labels=labels)


def draw_shuffled(seed: int = 0) -> list[FoldColumns]:
    return [shuffle(draw_columns(k, 150, 250, seed=30 * k + seed), seed + k) for k in (0, 1)]


@pytest.mark.parametrize("seed", range(5))
def test_honest_members_and_labels_that_mean_nothing(seed):
    folds = draw_shuffled(100 * seed)
    check_null(folds, fit_candidates(folds, SETTINGS, seed).scores)


def test_the_same_members_and_honest_labels_are_far_outside():
    folds = [draw_columns(k, 150, 250, seed=30 * k) for k in (0, 1)]
    for name, scores in fit_candidates(folds, SETTINGS, 0).scores.items():
        assert min(inner.measure_auc(folds, scores)) > 0.75, name


@pytest.mark.parametrize("strength", [0.3, 2.0])
def test_members_that_learned_the_fold_rows_are_found_out(strength):
    folds = draw_shuffled()
    leaking = [
        replace(c, logits=c.logits + strength * (2.0 * c.labels[:, None] - 1)) for c in folds
    ]
    fitted = fit_candidates(leaking, SETTINGS, 0)
    with pytest.raises(AssertionError, match=r"mean, fold 0"):
        check_null(leaking, fitted.scores)


def test_one_leaking_embedding_is_found_out():
    folds = draw_shuffled()
    memory = (2.0 * folds[1].labels - 1)[:, None] * np.eye(1, 10) * 3
    embeddings = (*folds[1].embeddings[:2], (folds[1].embeddings[2] + memory).astype(np.float16))
    folds[1] = replace(folds[1], embeddings=embeddings)
    with pytest.raises(AssertionError, match="lightgbm, fold 1"):
        check_null(folds, fit_candidates(folds, SETTINGS, 0).scores)


def test_a_stacker_that_scores_its_own_rows_is_found_out():
    folds = draw_shuffled()
    fitted = fit_candidates(folds, SETTINGS, 0)
    own = [fit.score(columns) for fit, columns in zip(fitted.stackers.values(), folds, strict=True)]
    with pytest.raises(AssertionError, match="lightgbm, fold 0"):
        check_null(folds, fitted.scores | {"lightgbm": own})


def test_inner_folds_that_learn_from_the_held_out_rows_are_found_out(monkeypatch):
    folds = draw_shuffled()
    whole = {columns.fold: columns for columns in folds}
    real = inner.fit_stacker

    def fit_on_everything(columns, settings, seed, rounds):
        return real(whole[columns.fold], settings, seed, 20)

    monkeypatch.setattr(inner, "fit_stacker", fit_on_everything)
    with pytest.raises(AssertionError, match="lightgbm, fold 0"):
        check_null(folds, fit_candidates(folds, SETTINGS, 0).scores)


def test_splits_that_ignore_groups_are_found_out(monkeypatch):
    # Every row stands there twice; labels are shuffled by group, as they would be in a manifest.
    half = [shuffle(draw_columns(k, 75, 125, seed=30 * k), k) for k in (0, 1)]
    folds = [columns.take(np.repeat(np.arange(200), 2)) for columns in half]
    once = [fit_candidates(folds, SETTINGS, 0).scores["lightgbm"][k][::2] for k in (0, 1)]
    loose = [replace(columns, groups=np.arange(400)) for columns in folds]
    leaking = [fit_candidates(loose, SETTINGS, 0).scores["lightgbm"][k][::2] for k in (0, 1)]
    honest = {name: [c.logits[:, 0] for c in half] for name in CANDIDATES}
    check_null(half, honest | {"lightgbm": once})
    with pytest.raises(AssertionError, match="lightgbm"):
        check_null(half, honest | {"lightgbm": leaking})


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


def test_stage_2_brings_no_torch_in():
    modules = sorted(p.stem for p in (ROOT / "stage2_ensemble").glob("*.py"))
    assert "stacker" in modules
    names = ", ".join(f"stage2_ensemble.{m}" for m in modules if m != "__init__")
    code = (
        f"import sys, {names}; print(sorted({{'torch', 'timm', 'torchvision'}} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
