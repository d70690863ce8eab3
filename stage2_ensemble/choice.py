"""What ships, and the thresholds: decided on scores of rows that no model was fitted on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from stage2_ensemble.columns import CalibrationColumns, FoldColumns
from stage2_ensemble.ensemble import CANDIDATES, Ensemble
from stage2_ensemble.inner import Fitted, measure_auc
from stage2_ensemble.metrics import choose_threshold


def choose_candidate(oof_auc: Mapping[str, Sequence[float]]) -> str:
    """The candidate with the highest inner out-of-fold AUC, averaged over folds.

    Of equal ones the first: they stand from simple to complex.
    """
    return max(CANDIDATES, key=lambda name: float(np.mean(oof_auc[name])))


def build_ensemble(
    fitted: Fitted,
    folds: Sequence[FoldColumns],
    calibration: Sequence[CalibrationColumns],
    policy: str,
    train_digest: str,
    prior: float,
) -> Ensemble:
    """The ensemble with the candidate that ships and all thresholds.

    With calibration rows, thresholds are chosen on the ensemble's own scores of them: a mean of
    several stackers is distributed unlike one of them. Without, on inner out-of-fold scores.
    """
    oof_auc = {name: measure_auc(folds, scores) for name, scores in fitted.scores.items()}
    spared = len(calibration[0]) > 0
    ensemble = Ensemble(
        backbones=folds[0].backbones,
        folds=tuple(columns.fold for columns in folds),
        train_digest=train_digest,
        digests={columns.fold: columns.digests for columns in folds},
        prior=prior,
        shipped=choose_candidate(oof_auc),
        combiners=fitted.combiners,
        stackers=fitted.stackers,
        oof_auc=oof_auc,
        thresholds={},
        threshold_rows="calibration" if spared else "inner out-of-fold",
    )
    if spared:
        labels = calibration[0].labels
        scores = {name: ensemble.score(name, calibration) for name in CANDIDATES}
    else:
        labels = np.concatenate([columns.labels for columns in folds])
        scores = {name: np.concatenate(fitted.scores[name]) for name in CANDIDATES}
    thresholds = {name: choose_threshold(labels, scores[name], policy) for name in CANDIDATES}
    thresholds.update(_choose_member_thresholds(folds, policy))
    return replace(ensemble, thresholds=thresholds)


def _choose_member_thresholds(folds: Sequence[FoldColumns], policy: str) -> dict[str, float]:
    return {
        f"{backbone}-{columns.fold}": choose_threshold(columns.labels, scores, policy)
        for columns in folds
        for backbone, scores in zip(columns.backbones, columns.logits.T, strict=True)
    }
