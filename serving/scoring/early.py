"""Which rows cheap networks answer alone, by a rule of the bundle's cascade."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from features.core.manifest import Ids
from features.errors import BundleError
from serving.format.cascade import LEAST_SAVING, format_loss, read_cascade
from stage2_ensemble.columns.columns import Floats
from stage2_ensemble.decisions.calibration import Calibration
from stage2_ensemble.decisions.rules import DecisionRules
from stage2_ensemble.fitted.ensemble import SecondStage

_log = logging.getLogger("forgerystack")


@dataclass(frozen=True)
class EarlyAnswers:
    """Of `n` rows."""

    log_odds: Floats
    """`(n,)` calibrated, at the class shares of train; NaN where all members have to be asked."""
    first: tuple[str, ...]
    """Backbones that saw all rows."""
    order: tuple[str, ...]
    """Backbones that saw those that are NaN."""

    def take(self, positions: Ids) -> Self:
        """Of the rows at these positions."""
        return replace(self, log_odds=self.log_odds[positions])

    def list_asked(self) -> list[tuple[str, ...]]:
        """By row the backbones that saw it."""
        return [self.order if np.isnan(value) else self.first for value in self.log_odds]


@dataclass(frozen=True)
class EarlyStop:
    """A rule, ready to be asked."""

    backbones: tuple[str, ...]
    """Those that see all rows."""
    order: tuple[str, ...]
    """All that what ships asks, from the cheapest to the dearest."""
    calibration: Calibration
    threshold: float
    margin: float

    def decide(self, members: Mapping[str, Floats], rules: DecisionRules) -> EarlyAnswers:
        """`members`: by `<backbone>-<fold>` `(n,)` log-odds of `backbones`, uncalibrated."""
        read = [rules.scorers[name].calibration.apply(odds) for name, odds in members.items()]
        log_odds = self.calibration.apply(np.mean(read, axis=0))
        stops = np.abs(log_odds - self.threshold) >= self.margin
        return EarlyAnswers(np.where(stops, log_odds, np.nan), self.backbones, self.order)


def open_early_stop(folder: Path, second_stage: SecondStage, max_loss: float) -> EarlyStop:
    """The rule that saves most and promises to lose no more than `max_loss`; warns where it lost
    more on val.

    Raises `BundleError` where none does, with the least loss that one promises.
    """
    cascade = read_cascade(folder)
    rule = cascade.find_rule(max_loss)
    if rule is None:
        useful = [r.promised_loss for r in cascade.rules if r.saving >= LEAST_SAVING]
        problem = f"no rule saves {LEAST_SAVING} times and promises a loss of {max_loss:g} at most"
        least = f"the least that one promises is {format_loss(min(useful))}" if useful else ""
        reasons = [reason for reason in (cascade.reason, least) if reason]
        raise BundleError(str(folder), ["; ".join([problem, *reasons])], "Leave out --max-loss.")
    if rule.val_loss is not None and rule.val_loss > max_loss:
        lost = (format_loss(rule.val_loss), format_loss(rule.promised_loss))
        _log.warning("On val the rule lost %s, and promised %s: val is unlike train", *lost)
    step = cascade.steps[rule.step]
    threshold = second_stage.rules.scorers[second_stage.shipped].threshold.value
    calibration = Calibration.from_json(step.calibration)
    return EarlyStop(step.backbones, cascade.order, calibration, threshold, rule.margin)
