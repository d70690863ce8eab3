"""What ships, and which rows the thresholds come from."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_world import draw_columns, hold_out

from features.stack_params import Stack
from stage2_ensemble.choice import build_ensemble, choose_candidate
from stage2_ensemble.columns import CalibrationColumns
from stage2_ensemble.ensemble import CANDIDATES
from stage2_ensemble.inner import fit_candidates, measure_auc
from stage2_ensemble.metrics import choose_threshold

SETTINGS = Stack(inner_folds=3, pca_components=3, max_rounds=8, learning_rate=0.3, num_leaves=7)


def draw_calibration(fold: int, rows: int = 60) -> CalibrationColumns:
    columns = draw_columns(fold, rows // 2, rows - rows // 2, seed=70)
    return CalibrationColumns(**vars(hold_out(columns)), labels=columns.labels)


@pytest.fixture(scope="module")
def folds():
    return [draw_columns(0), draw_columns(1, seed=50)]


@pytest.fixture(scope="module")
def fitted(folds):
    return fit_candidates(folds, SETTINGS, 0)


def choose(fitted, folds, rows: int = 60, policy: str = "balanced_accuracy"):
    calibration = [draw_calibration(c.fold, rows) for c in folds]
    return build_ensemble(fitted, folds, calibration, policy, "d" * 64, 0.6), calibration


# --- what ships


def rate(**aucs: list[float]) -> dict[str, list[float]]:
    return {name: [0.5, 0.5] for name in CANDIDATES} | aucs


def test_the_highest_mean_over_folds_ships():
    assert choose_candidate(rate(logistic=[0.9, 0.7], lightgbm=[0.95, 0.6])) == "logistic"
    assert choose_candidate(rate(logistic=[0.9, 0.7], lightgbm=[0.95, 0.66])) == "lightgbm"


def test_of_equal_candidates_the_simplest_ships():
    assert choose_candidate(rate()) == "mean"
    assert choose_candidate(rate(lightgbm=[0.9, 0.9], logistic=[0.9, 0.9])) == "logistic"
    assert CANDIDATES[0] == "mean"
    assert CANDIDATES[-1] == "lightgbm"


def test_what_ships_was_best_on_rows_that_nothing_was_fitted_on(fitted, folds):
    ensemble, _ = choose(fitted, folds)
    for name in CANDIDATES:
        assert ensemble.oof_auc[name] == measure_auc(folds, fitted.scores[name])
    means = {name: np.mean(ensemble.oof_auc[name]) for name in CANDIDATES}
    assert ensemble.shipped == max(means, key=means.get) == "lightgbm"


# --- thresholds


@pytest.mark.parametrize("policy", ["balanced_accuracy", "accuracy"])
def test_with_calibration_rows_thresholds_come_from_the_ensembles_scores_of_them(
    fitted, folds, policy
):
    ensemble, calibration = choose(fitted, folds, policy=policy)
    assert ensemble.threshold_rows == "calibration"
    for name in CANDIDATES:
        scores = ensemble.score(name, calibration)
        wanted = choose_threshold(calibration[0].labels, scores, policy)
        assert ensemble.thresholds[name] == wanted


@pytest.mark.parametrize("policy", ["balanced_accuracy", "accuracy"])
def test_without_them_thresholds_come_from_inner_out_of_fold_scores(fitted, folds, policy):
    ensemble, _ = choose(fitted, folds, rows=0, policy=policy)
    assert ensemble.threshold_rows == "inner out-of-fold"
    labels = np.concatenate([columns.labels for columns in folds])
    for name in CANDIDATES:
        scores = np.concatenate(fitted.scores[name])
        assert ensemble.thresholds[name] == choose_threshold(labels, scores, policy)


def test_thresholds_never_come_from_a_stackers_scores_of_its_own_rows(fitted, folds):
    alone = [folds[0]]
    one = replace(fitted, scores={name: s[:1] for name, s in fitted.scores.items()})
    ensemble, _ = choose(one, alone, rows=0)
    own = ensemble.score("lightgbm", alone)
    wrong = choose_threshold(folds[0].labels, own, "balanced_accuracy")
    assert ensemble.thresholds["lightgbm"] != wrong


def test_every_member_has_a_threshold_from_its_own_fold(fitted, folds):
    ensemble, _ = choose(fitted, folds)
    members = {f"{b}-{c.fold}" for c in folds for b in c.backbones}
    assert set(ensemble.thresholds) == members | set(CANDIDATES)
    wanted = choose_threshold(folds[1].labels, folds[1].logits[:, 2], "balanced_accuracy")
    assert ensemble.thresholds["net_c-1"] == wanted


# --- scores of the whole


def test_a_score_is_the_mean_over_the_folds(fitted, folds):
    ensemble, calibration = choose(fitted, folds)
    logits = [c.logits for c in calibration]
    np.testing.assert_allclose(
        ensemble.score("mean", calibration), np.mean([x.mean(axis=1) for x in logits], axis=0)
    )
    stackers = [fitted.stackers[c.fold].score(c) for c in calibration]
    np.testing.assert_allclose(ensemble.score("lightgbm", calibration), np.mean(stackers, axis=0))
