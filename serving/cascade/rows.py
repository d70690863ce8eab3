"""The rows that a cascade is judged on, with what ships and each backbone say of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from features.core.manifest import Manifest
from features.errors import AlignmentError
from stage2_ensemble.columns.columns import Floats, MemberColumns, read_train_columns
from stage2_ensemble.decisions.scored_rows import ChoiceRows
from stage2_ensemble.models.ensemble import SecondStage


@dataclass(frozen=True)
class CascadeRows:
    """`shipped` has log-odds that were calibrated by other rows, as `backbones` `(n,)` have."""

    shipped: ChoiceRows
    backbones: Mapping[str, Floats]
    """By name, the mean over its folds: raw ones, read by each member's own calibration."""


def read_cascade_rows(second_stage: SecondStage, train: Manifest, dumps: Path) -> CascadeRows:
    """The rows that the second stage's rules stand on.

    These are calibration rows, which all folds speak of, or else out-of-fold rows, each of which
    its own fold speaks of. Raises `AlignmentError` for dumps of other rows.
    """
    pairs = read_train_columns(dumps, train, second_stage.backbones, second_stage.folds)
    shipped = second_stage.rules.held_out
    if second_stage.rule_rows == "calibration":
        spared = [pair[1] for pair in pairs]
        row_ids = spared[0].row_ids
        by_fold = [_calibrate(second_stage, columns) for columns in spared]
        scores = np.mean(by_fold, axis=0)
    else:
        folds = [pair[0] for pair in pairs]
        row_ids = np.concatenate([columns.row_ids for columns in folds])
        scores = np.concatenate([_calibrate(second_stage, columns) for columns in folds])
    if not np.array_equal(row_ids, shipped.row_ids):
        counts = (len(row_ids), len(shipped))
        raise AlignmentError("rows of the ensemble's rules and of dumps", *counts)
    return CascadeRows(shipped, dict(zip(second_stage.backbones, scores.T, strict=True)))


def _calibrate(second_stage: SecondStage, columns: MemberColumns) -> Floats:
    """`(n, backbones)` log-odds, each read by its member's calibration."""
    scorers = second_stage.rules.scorers
    calibrations = [scorers[f"{name}-{columns.fold}"].calibration for name in columns.backbones]
    pairs = zip(calibrations, columns.logits.T, strict=True)
    return np.stack([calibration.apply(log_odds) for calibration, log_odds in pairs], axis=1)
