"""The rows that a cascade is judged on, with what ships and each backbone say of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from features.core.manifest import Manifest, count_classes
from features.errors import AlignmentError
from stage2_ensemble.columns.columns import (
    Floats,
    MemberColumns,
    read_held_out,
    read_train_columns,
)
from stage2_ensemble.columns.extras import read_extras
from stage2_ensemble.decisions.scored_rows import ChoiceRows, LabelledRows, ValRows
from stage2_ensemble.fitted.ensemble import SecondStage

Rows = TypeVar("Rows", bound=LabelledRows, covariant=True)


@dataclass(frozen=True)
class CascadeRows(Generic[Rows]):
    """`n` rows; log-odds are calibrated, at the class shares of train."""

    shipped: Rows
    """With the log-odds of what ships; on rows of train, calibrated by other rows."""
    backbones: Mapping[str, Floats]
    """By name `(n,)`: the mean over its folds, each read by its member's calibration."""


def read_val_rows(
    second_stage: SecondStage, val: Manifest, dumps: Path, forensics: Path
) -> CascadeRows[ValRows] | None:
    """Val, to measure on; `None` where it lacks a class."""
    if 0 in count_classes(val.labels):
        return None
    members = (second_stage.backbones, second_stage.folds, second_stage.train_digest)
    columns = read_held_out(dumps, val, *members, read_extras(forensics, val))
    row_ids = columns[0].row_ids
    calibration = second_stage.rules.scorers[second_stage.shipped].calibration
    rows = ValRows(
        row_ids=row_ids,
        log_odds=calibration.apply(second_stage.score(second_stage.shipped, columns)),
        groups=val.groups[row_ids],
        labels=val.labels[row_ids],
    )
    scores = np.mean([_calibrate(second_stage, c) for c in columns], axis=0)
    return CascadeRows(rows, dict(zip(second_stage.backbones, scores.T, strict=True)))


def read_cascade_rows(
    second_stage: SecondStage, train: Manifest, dumps: Path
) -> CascadeRows[ChoiceRows]:
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
