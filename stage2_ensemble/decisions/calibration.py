"""Which calibration a candidate's log-odds get, by held-out log loss."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from features.core.manifest import Ids
from features.splits.folds import split_evenly
from stage2_ensemble.columns.columns import Floats, InnerFolds
from stage2_ensemble.decisions.calibrators import CALIBRATORS, Calibrator, Identity
from stage2_ensemble.decisions.scored_rows import ChoiceRows, check_choosable
from stage2_ensemble.measures.reliability import find_bins, measure_ece

FOLDS = 5


@dataclass(frozen=True)
class Calibration:
    """The calibrator that won, fitted on all rows, and what it was chosen by."""

    calibrator: Calibrator
    losses: Mapping[str, float]
    """Held-out log loss of each calibrator; empty where nothing could be compared."""
    ece_before: float
    """On the same rows, of the log-odds as they came …"""
    ece_after: float
    """… and of the winner's held-out ones."""
    reason: str

    def apply(self, log_odds: Floats) -> Floats:
        """`(n,)` calibrated log-odds; metrics of order belong to those before."""
        return self.calibrator.apply(log_odds)

    def to_json(self) -> dict[str, Any]:
        """Everything."""
        return {
            "name": self.calibrator.name,
            "learned": self.calibrator.to_json(),
            "losses": dict(self.losses),
            "ece_before": self.ece_before,
            "ece_after": self.ece_after,
            "reason": self.reason,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(
            CALIBRATORS[values["name"]].from_json(values["learned"]),
            dict(values["losses"]),
            values["ece_before"],
            values["ece_after"],
            values["reason"],
        )


def choose_calibration(rows: ChoiceRows, folds: int = FOLDS, seed: int = 0) -> Calibration:
    """The simplest calibrator whose held-out log loss is within one standard error of the best.

    (Breiman et al., "Classification and regression trees", 1984.) The error is that of the paired
    difference from the best one, rows of a group counting as one. Groups never straddle the
    `folds`. With fewer groups of a class than `folds` the log-odds stay as they are.

    Log-odds of fake are right at the weighted class shares of `rows`: `rows.at_prior(train)`.
    """
    check_choosable(rows)
    before = _measure_ece(rows, rows.log_odds)
    least = _count_least_groups(rows)
    if least < folds:
        reason = f"the rows hold {least} groups of a class; {folds} are needed to compare"
        return Calibration(Identity(), {}, before, before, reason)
    fold = split_evenly(rows.labels, rows.groups, folds, seed)
    held_out = {name: _score_calibrator(kind, rows, fold) for name, kind in CALIBRATORS.items()}
    signs = np.where(rows.labels == 1, -1.0, 1.0)
    by_row = {name: np.logaddexp(0, signs * odds) for name, odds in held_out.items()}
    losses = {name: float(np.average(loss, weights=rows.weights)) for name, loss in by_row.items()}
    best = min(losses, key=lambda name: losses[name])
    name, reason = best, "least held-out log loss"
    for simpler in list(CALIBRATORS)[: list(CALIBRATORS).index(best)]:
        error = _measure_error(by_row[simpler] - by_row[best], rows.weights, rows.groups)
        if losses[simpler] - losses[best] <= error:
            name, reason = simpler, f"{best} is better by no more than noise"
            break
    after = _measure_ece(rows, held_out[name])
    calibrator = CALIBRATORS[name]().fit(rows.log_odds, rows.labels, rows.weights)
    return Calibration(calibrator, losses, before, after, reason)


def cross_calibrate(rows: ChoiceRows, name: str, folds: int = FOLDS, seed: int = 0) -> ChoiceRows:
    """`rows` with log-odds that the calibrator `name`, fitted on the other folds, gives them.

    As `choose_calibration` judged it; with fewer groups of a class than `folds` as they came.
    """
    check_choosable(rows)
    if _count_least_groups(rows) < folds:
        return rows
    fold = split_evenly(rows.labels, rows.groups, folds, seed)
    return rows.with_log_odds(_score_calibrator(CALIBRATORS[name], rows, fold))


def _score_calibrator(kind: type[Calibrator], rows: ChoiceRows, fold: InnerFolds) -> Floats:
    scores = np.empty(len(rows))
    for held_out in range(int(fold.max()) + 1):
        inside, rest = fold == held_out, fold != held_out
        fitted = kind().fit(rows.log_odds[rest], rows.labels[rest], rows.weights[rest])
        scores[inside] = fitted.apply(rows.log_odds[inside])
    return scores


def _measure_ece(rows: ChoiceRows, log_odds: Floats) -> float:
    bins = find_bins(log_odds, rows.weights)
    return measure_ece(rows.labels, log_odds, bins, rows.weights)


def _count_least_groups(rows: ChoiceRows) -> int:
    """Of the class that has fewer."""
    return min(len(np.unique(rows.groups[rows.labels == label])) for label in (0, 1))


def _measure_error(differences: Floats, weights: Floats, groups: Ids) -> float:
    """Standard error of a weighted mean over `(n,)` rows, from its sums by group."""
    numbers = np.unique(groups, return_inverse=True)[1]
    mean = np.average(differences, weights=weights)
    sums = np.bincount(numbers, weights * (differences - mean))
    return float(np.sqrt(sums @ sums * len(sums) / max(len(sums) - 1, 1)) / weights.sum())
