"""The threshold at or above which a row is called fake, by policy, with its interval.

All log-odds and thresholds are those at the class shares of train. Where a policy depends on the
class shares of the rows to be labelled, their rates are weighed by these; log-odds stay.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.special import logit

from features.core.auc import LEVEL
from features.settings.stacking import RATES, Decision
from stage2_ensemble.columns.columns import Floats, Labels
from stage2_ensemble.decisions.scored_rows import ChoiceRows, check_choosable, resample_groups
from stage2_ensemble.measures.shares import Share, estimate_share

DRAWS = 400
GIVEN = "params.yaml"
"""In place of a policy, where the threshold is a number."""
ROUNDING = 1e-12
"""Values that differ by less are equal."""


@dataclass(frozen=True)
class Threshold:
    """Where it stands, and what it did on the rows that it was chosen on."""

    value: float
    low: float | None
    """Interval: where it would stand on other rows of the same kind."""
    high: float | None
    policy: str
    target: float | None
    """Of `fpr` and `tpr`; of a threshold that is given, the score."""
    prior: float | None
    """Share of fakes that it is chosen for, where the policy depends on it."""
    fpr: Share
    tpr: Share
    note: str = ""

    def call(self, log_odds: Floats) -> Labels:
        """`(n,)` labels of log-odds at the class shares of train: 1 at or above the threshold."""
        return (log_odds >= self.value).astype(np.int8)

    def to_json(self) -> dict[str, Any]:
        """Everything."""
        return vars(self) | {"fpr": self.fpr.to_json(), "tpr": self.tpr.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        rates = {name: Share.from_json(values[name]) for name in ("fpr", "tpr")}
        return cls(**{**values, **rates})


def choose_threshold(
    rows: ChoiceRows,
    decision: Decision,
    prior: float | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Threshold:
    """The policy's threshold on `rows`, and a percentile interval over bootstrap samples of groups.

    `prior`: share of fakes among the rows to be labelled (default: that of `rows`). Only
    `accuracy`, `f1` and `cost` depend on it, and a given score, which is a probability at this
    share. `draws` of 0 give no interval.
    """
    check_choosable(rows)
    prior = rows.prior if prior is None else prior
    if isinstance(decision.threshold, float):
        value = float(logit(decision.threshold) - logit(prior) + logit(rows.prior))
        fpr, tpr = (_measure_rate(rows, value, label) for label in (0, 1))
        return Threshold(value, None, None, GIVEN, decision.threshold, prior, fpr, tpr)
    value = find_threshold(rows.labels, rows.log_odds, decision, rows.weights, prior)
    order = np.argsort(rows.log_odds, kind="stable")
    labels, log_odds, weights = rows.labels[order], rows.log_odds[order], rows.weights[order]
    found = []
    for counts in resample_groups(rows.groups, draws, seed):
        drawn = weights * counts[order]
        if all(drawn[labels == label].sum() > 0 for label in (0, 1)):
            found.append(_find_in_order(labels, log_odds, drawn, decision, prior))
    tails = [50 * (1 - LEVEL), 50 * (1 + LEVEL)]
    low, high = map(float, np.percentile(found, tails)) if found else (None, None)
    fpr, tpr = (_measure_rate(rows, value, label) for label in (0, 1))
    uses_prior = decision.threshold not in (*RATES, "balanced_accuracy")
    return Threshold(
        value, low, high, decision.threshold, decision.target, prior if uses_prior else None,
        fpr, tpr, _describe_shortage(rows, decision),
    )  # fmt: skip


def find_threshold(
    labels: Labels,
    log_odds: Floats,
    decision: Decision,
    weights: Floats | None = None,
    prior: float | None = None,
) -> float:
    """The threshold alone, half-way between two rows; rows of equal score are all in or all out.

    FPR and TPR are the weighted shares of reals and of fakes at or above it. Of equally good
    thresholds the lowest; `fpr`: the lowest whose FPR is no more than the target; `tpr`: the
    highest whose TPR is no less. Where all rows are called fake it is the lowest score, where none
    is, the next number above the highest. Raises `ValueError` unless both classes weigh something.
    """
    worth = np.ones(len(labels)) if weights is None else weights
    if not all(worth[labels == label].sum() > 0 for label in (0, 1)):
        raise ValueError("a threshold needs rows of both classes")
    if prior is None:
        prior = float(worth[labels == 1].sum() / worth.sum())
    order = np.argsort(log_odds, kind="stable")
    return _find_in_order(labels[order], log_odds[order], worth[order], decision, prior)


def _find_in_order(
    labels: Labels, log_odds: Floats, weights: Floats, decision: Decision, prior: float
) -> float:
    """Rows in the order of their log-odds; those without weight are not there."""
    counted = weights > 0
    labels, log_odds, weights = labels[counted], log_odds[counted], weights[counted]
    # Candidate j calls the rows from places[j] on fake; no two rows of equal score are parted.
    places = np.concatenate([[0], np.flatnonzero(np.diff(log_odds)) + 1, [len(log_odds)]])
    fpr, tpr = (_share_above(weights * (labels == label), places) for label in (0, 1))
    place = int(places[_pick(fpr, tpr, decision, prior)])
    if place == 0:
        return float(log_odds[0])
    if place == len(log_odds):
        return float(np.nextafter(log_odds[-1], np.inf))
    below, above = float(log_odds[place - 1]), float(log_odds[place])
    middle = below + (above - below) / 2
    return middle if middle > below else above


def _share_above(weights: Floats, places: Floats) -> Floats:
    """Share of all weight that stands at each of `places` or after it."""
    sums = np.concatenate([[0.0], np.cumsum(weights)])
    return np.asarray((sums[-1] - sums[places]) / sums[-1])


def _pick(fpr: Floats, tpr: Floats, decision: Decision, prior: float) -> int:
    """The candidate; rates fall from the first, which calls all rows fake, to the last."""
    if decision.threshold == "fpr":
        assert decision.target is not None
        return int(np.argmax(fpr <= decision.target + ROUNDING))
    if decision.threshold == "tpr":
        assert decision.target is not None
        return int(np.flatnonzero(tpr >= decision.target - ROUNDING)[-1])
    values = _rate(fpr, tpr, decision, prior)
    return int(np.argmax(values >= values.max() - ROUNDING * np.abs(values).max()))


def _rate(fpr: Floats, tpr: Floats, decision: Decision, prior: float) -> Floats:
    """What the policy makes as large as it can, at the share of fakes `prior`."""
    if decision.threshold == "balanced_accuracy":
        return tpr - fpr
    found, wrong = prior * tpr, (1 - prior) * fpr
    if decision.threshold == "accuracy":
        return found - wrong
    if decision.threshold == "f1":
        return 2 * found / (found + wrong + prior)
    return decision.cost_fake * found - decision.cost_real * wrong


def _measure_rate(rows: ChoiceRows, threshold: float, label: int) -> Share:
    of_class = (rows.labels == label) & (rows.weights > 0)
    return estimate_share(
        rows.log_odds[of_class] >= threshold, rows.groups[of_class], rows.weights[of_class]
    )


def _describe_shortage(rows: ChoiceRows, decision: Decision) -> str:
    """What a target asks of too few rows."""
    if decision.target is None:
        return ""
    label, kind = (0, "reals") if decision.threshold == "fpr" else (1, "fakes")
    share = decision.target if label == 0 else 1 - decision.target
    count = int((rows.labels == label).sum())
    if count * share >= 1:
        return ""
    return f"{count} {kind} are too few for a {decision.threshold} of {decision.target:g}"
