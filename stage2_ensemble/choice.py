"""What ships, and the thresholds: decided on scores of rows that no model was fitted on."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from features.stack_params import StackParams
from stage2_ensemble.candidates import fit_candidate, list_candidates
from stage2_ensemble.columns import CalibrationColumns, FoldColumns
from stage2_ensemble.ensemble import Ensemble
from stage2_ensemble.gate import choose_shipped, hold_gate
from stage2_ensemble.metrics import choose_threshold
from stage2_ensemble.nested import Judged, judge_candidates, measure_auc, pick_simple


def fit_ensemble(
    folds: Sequence[FoldColumns],
    calibration: Sequence[CalibrationColumns],
    params: StackParams,
    train_digest: str,
    prior: float,
) -> Ensemble:
    """Judges every candidate, fits it on all fold rows, and decides what ships.

    With calibration rows, thresholds are chosen on the ensemble's own scores of them: a mean of
    several models is distributed unlike one of them. Without, on out-of-fold scores.
    """
    settings, seed = params.stack, params.seed
    judged = judge_candidates(folds, settings, seed)
    names = list_candidates(folds, settings)
    verdicts = hold_gate(folds, judged, settings, params.gate, seed)
    spared = len(calibration[0]) > 0
    ensemble = Ensemble(
        backbones=folds[0].backbones,
        folds=tuple(columns.fold for columns in folds),
        train_digest=train_digest,
        digests={columns.fold: columns.digests for columns in folds},
        prior=prior,
        shipped=choose_shipped(verdicts, pick_simple(folds, settings, seed).name),
        models={name: fit_candidate(name, folds, settings, seed) for name in names},
        oof_auc={name: measure_auc(folds, judged.scores[name]) for name in names},
        picks=judged.picks,
        verdicts=tuple(verdicts),
        thresholds={},
        threshold_rows="calibration" if spared else "out-of-fold",
    )
    thresholds = _choose_thresholds(ensemble, folds, calibration, judged, params)
    return replace(ensemble, thresholds=thresholds)


def _choose_thresholds(
    ensemble: Ensemble,
    folds: Sequence[FoldColumns],
    calibration: Sequence[CalibrationColumns],
    judged: Judged,
    params: StackParams,
) -> dict[str, float]:
    policy = params.decision.threshold
    if len(calibration[0]):
        labels = calibration[0].labels
        scores = {name: ensemble.score(name, calibration) for name in ensemble.models}
    else:
        labels = np.concatenate([columns.labels for columns in folds])
        scores = {name: np.concatenate(judged.scores[name]) for name in ensemble.models}
    thresholds = {name: choose_threshold(labels, s, policy) for name, s in scores.items()}
    return thresholds | _choose_member_thresholds(folds, policy)


def _choose_member_thresholds(folds: Sequence[FoldColumns], policy: str) -> dict[str, float]:
    return {
        f"{backbone}-{columns.fold}": choose_threshold(columns.labels, scores, policy)
        for columns in folds
        for backbone, scores in zip(columns.backbones, columns.logits.T, strict=True)
    }
