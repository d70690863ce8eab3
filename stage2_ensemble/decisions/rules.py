"""How log-odds become probabilities and labels: real, fake or review.

Scorers are candidates and members. All that is fitted or chosen here stands on rows of train that
no scorer learned from.

    rules = ensemble.rules
    rules.read("greedy", uncalibrated)               # at the assumed share of fakes
    answer_rows(rules, "greedy", uncalibrated)       # score, label, log_odds
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from features.errors import ConfigError
from features.settings.stacking import Decision, Label
from stage2_ensemble.columns.columns import Floats
from stage2_ensemble.decisions.calibration import Calibration, choose_calibration, cross_calibrate
from stage2_ensemble.decisions.conformal import FAKE, REAL, REVIEW, Band, fit_band
from stage2_ensemble.decisions.prior_shift import Prior, estimate_prior, keep_train, use_given
from stage2_ensemble.decisions.scored_rows import ChoiceRows, RowScores
from stage2_ensemble.decisions.threshold import DRAWS, Threshold, choose_threshold

NOTHING: Mapping[str, Mapping[str, ChoiceRows]] = {}


@dataclass(frozen=True)
class DecisionRule:
    """Of one scorer."""

    calibration: Calibration
    threshold: Threshold
    """Of calibrated log-odds at the class shares of train."""

    def to_json(self) -> dict[str, Any]:
        """Everything."""
        return {"calibration": self.calibration.to_json(), "threshold": self.threshold.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        calibration = Calibration.from_json(values["calibration"])
        return cls(calibration, Threshold.from_json(values["threshold"]))


@dataclass(frozen=True)
class DecisionRules:
    """Of all scorers, by name, and what they share."""

    scorers: Mapping[str, DecisionRule]
    prior: Prior
    """Share of fakes that probabilities assume; the score of an image that cannot be read."""
    band: Band | None
    """Of what ships, for `decision.review`."""
    held_out: ChoiceRows
    """Rows with log-odds of what ships, calibrated by other rows: to estimate shares with."""

    def read(self, name: str, log_odds: Floats) -> Floats:
        """`(n,)` log-odds of fake, calibrated, at the share `prior`."""
        return self.prior.apply(self.scorers[name].calibration.apply(log_odds))

    def read_all(self, scores: Mapping[str, Floats]) -> dict[str, Floats]:
        """`read` of each scorer."""
        return {name: self.read(name, log_odds) for name, log_odds in scores.items()}

    def find_threshold(self, name: str) -> float:
        """Of log-odds that `read` gives: a row is called fake at or above it."""
        return float(self.prior.apply(np.asarray(self.scorers[name].threshold.value)))

    def at_share(self, name: str, share: float) -> Self:
        """The same labels of the scorer `name`, with probabilities where a share of rows is fake.

        Raises `ConfigError` where another share would have another threshold.
        """
        threshold = self.scorers[name].threshold
        if self.band is None and threshold.prior is not None:
            problem = (
                f"the threshold ({threshold.policy}) was chosen for a share of fakes of "
                f"{threshold.prior:.3g}"
            )
            advice = (
                "Set label.prior in the project's params.yaml, then dvc repro and bundle again."
            )
            raise ConfigError("prior", [problem], advice)
        prior = Prior(share, self.prior.train, "given", f"a share of {share:g} was asked for")
        return replace(self, prior=prior)


def fit_rules(
    rows: Mapping[str, ChoiceRows],
    shipped: str,
    decision: Decision,
    label: Label,
    train: float,
    targets: RowScores | None = None,
    seed: int = 0,
    tiers: Mapping[str, Mapping[str, ChoiceRows]] = NOTHING,
) -> DecisionRules:
    """Calibrates every scorer, finds the class shares, chooses thresholds.

    `rows`: by scorer, weighted to the share `train`. `targets`: the rows to be labelled that can be
    read, with log-odds of what ships as they come; for `label.prior: estimate`. `tiers`: by tier
    `rows` as they come back from the web, for `decision.tiers`; thresholds alone follow them.
    Raises `ConfigError` for a `decision.review` that the rows cannot promise.
    """
    calibrations = {
        name: choose_calibration(choice_rows, seed=seed) for name, choice_rows in rows.items()
    }
    fitted = {
        name: choice_rows.with_log_odds(calibrations[name].apply(choice_rows.log_odds))
        for name, choice_rows in rows.items()
    }
    chosen = calibrations[shipped]
    held_out = cross_calibrate(rows[shipped], chosen.calibrator.name, seed=seed)
    if targets is not None:
        targets = targets.with_log_odds(chosen.apply(targets.log_odds))
    prior = find_prior(label, train, targets, held_out, seed)
    scorers = {}
    for name, choice_rows in fitted.items():
        draws = DRAWS if name == shipped else 0
        damaged = {
            tier: own[name].with_log_odds(calibrations[name].apply(own[name].log_odds))
            for tier, own in tiers.items()
        }
        threshold = choose_threshold(choice_rows, decision, prior.value, draws, seed, damaged)
        scorers[name] = DecisionRule(calibrations[name], threshold)
    band = None if decision.review is None else fit_band(fitted[shipped], decision.review)
    return DecisionRules(scorers, prior, band, held_out)


def find_prior(
    label: Label, train: float, targets: RowScores | None, held_out: ChoiceRows, seed: int = 0
) -> Prior:
    """The share of fakes that `label.prior` asks for; `targets` have calibrated log-odds."""
    if label.prior == "train":
        return keep_train(train)
    if label.prior != "estimate":
        return use_given(label.prior, train)
    if targets is None:
        return Prior(train, train, "train", "there are no rows to be labelled")
    return estimate_prior(targets, held_out, train, seed=seed)


def answer_rows(rules: DecisionRules, shipped: str, uncalibrated: Floats) -> pd.DataFrame:
    """`score, label, log_odds` of `(n,)` log-odds as they come; NaN where there are none."""
    known = np.isfinite(uncalibrated)
    calibrated = np.full(len(uncalibrated), np.nan)
    calibrated[known] = rules.scorers[shipped].calibration.apply(uncalibrated[known])
    return answer_calibrated(rules, shipped, calibrated)


def answer_calibrated(rules: DecisionRules, shipped: str, calibrated: Floats) -> pd.DataFrame:
    """`answer_rows` of `(n,)` log-odds that are calibrated, at the class shares of train."""
    known = np.isfinite(calibrated)
    log_odds: Floats = np.full(len(calibrated), logit(rules.prior.value))
    log_odds[known] = rules.prior.apply(calibrated[known])
    labels = np.where(log_odds >= rules.find_threshold(shipped), FAKE, REAL).astype(object)
    if rules.band:
        labels[:] = REVIEW
        labels[known] = rules.band.decide(calibrated[known])
    return pd.DataFrame({"score": expit(log_odds), "label": labels, "log_odds": log_odds})
