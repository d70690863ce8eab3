"""The threshold at or above which a row is called fake, by policy, with its interval.

Rows may come in several tiers, as they are and as they come back from the web. Then the threshold
is the one that does best in the worst tier: a target holds in all of them.

All log-odds and thresholds are those at the class shares of train. Where a policy depends on the
class shares of the rows to be labelled, their rates are weighed by these; log-odds stay.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

import numpy as np
from scipy.special import logit

from features.core.auc import LEVEL
from features.core.manifest import Ids
from features.settings.stacking import RATES, Decision
from stage2_ensemble.columns.columns import Floats, Labels, Mask
from stage2_ensemble.decisions.scored_rows import ChoiceRows, check_choosable, resample_groups
from stage2_ensemble.measures.shares import Share, estimate_share

DRAWS = 400
GIVEN = "params.yaml"
"""In place of a policy, where the threshold is a number."""
ROUNDING = 1e-12
"""Values that differ by less are equal."""
NO_TIERS: Mapping[str, ChoiceRows] = {}


class TierRates(NamedTuple):
    """What a threshold did on the rows of one tier."""

    fpr: Share
    tpr: Share


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
    tiers: Mapping[str, TierRates] = field(default_factory=dict)
    """Those that it was chosen by beside pictures as they are."""

    def call(self, log_odds: Floats) -> Labels:
        """`(n,)` labels of log-odds at the class shares of train: 1 at or above the threshold."""
        return (log_odds >= self.value).astype(np.int8)

    def to_json(self) -> dict[str, Any]:
        """Everything."""
        tiers = {
            name: {"fpr": rates.fpr.to_json(), "tpr": rates.tpr.to_json()}
            for name, rates in self.tiers.items()
        }
        own = {"fpr": self.fpr.to_json(), "tpr": self.tpr.to_json()}
        return vars(self) | own | {"tiers": tiers}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        tiers = {name: TierRates(**_read_rates(rates)) for name, rates in values["tiers"].items()}
        return cls(**{**values, **_read_rates(values), "tiers": tiers})


def _read_rates(values: Mapping[str, Any]) -> dict[str, Share]:
    return {name: Share.from_json(values[name]) for name in ("fpr", "tpr")}


def choose_threshold(
    rows: ChoiceRows,
    decision: Decision,
    prior: float | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    tiers: Mapping[str, ChoiceRows] = NO_TIERS,
) -> Threshold:
    """The policy's threshold on `rows`, and a percentile interval over bootstrap samples of groups.

    `prior`: share of fakes among the rows to be labelled (default: that of `rows`). Only
    `accuracy`, `f1` and `cost` depend on it, and a given score, which is a probability at this
    share. `draws` of 0 give no interval. `tiers`: some of the rows as they come back from the web.
    """
    for part in (rows, *tiers.values()):
        check_choosable(part)
    prior = rows.prior if prior is None else prior
    if isinstance(decision.threshold, float):
        value = float(logit(decision.threshold) - logit(prior) + logit(rows.prior))
        return Threshold(
            value, None, None, GIVEN, decision.threshold, prior, *_measure_rates(rows, value)
        )
    parts = _Parts.pool([rows, *tiers.values()])
    value = _find_in_order(parts, decision, prior)
    found = []
    for counts in resample_groups(parts.groups, draws, seed):
        drawn = replace(parts, weights=parts.weights * counts)
        if drawn.has_all:
            found.append(_find_in_order(drawn, decision, prior))
    tails = [50 * (1 - LEVEL), 50 * (1 + LEVEL)]
    low, high = map(float, np.percentile(found, tails)) if found else (None, None)
    uses_prior = decision.threshold not in (*RATES, "balanced_accuracy")
    return Threshold(
        value, low, high, decision.threshold, decision.target, prior if uses_prior else None,
        *_measure_rates(rows, value),
        note=_describe_shortage((rows, *tiers.values()), decision),
        tiers={name: _measure_rates(part, value) for name, part in tiers.items()},
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
    order = np.argsort(log_odds, kind="stable")
    masks = (labels[order] == 0, labels[order] == 1)
    parts = _Parts(log_odds[order], worth[order], np.empty(0, np.int64), (masks,))
    if not parts.has_all:
        raise ValueError("a threshold needs rows of both classes")
    if prior is None:
        prior = float(worth[labels == 1].sum() / worth.sum())
    return _find_in_order(parts, decision, prior)


@dataclass(frozen=True)
class _Parts:
    """Rows of one or several tiers together `(n,)`, in the order of their log-odds."""

    log_odds: Floats
    weights: Floats
    groups: Ids
    masks: tuple[tuple[Mask, Mask], ...]
    """The reals and the fakes of each tier."""

    @classmethod
    def pool(cls, parts: Sequence[ChoiceRows]) -> Self:
        log_odds, weights, groups, labels = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("log_odds", "weights", "groups", "labels")
        )
        order = np.argsort(log_odds, kind="stable")
        labels = labels[order]
        number = np.repeat(np.arange(len(parts)), [len(part) for part in parts])[order]
        tiers = (number == tier for tier in range(len(parts)))
        masks = tuple((tier & (labels == 0), tier & (labels == 1)) for tier in tiers)
        return cls(log_odds[order], weights[order], groups[order], masks)

    @property
    def has_all(self) -> bool:
        """Both classes weigh something in each tier."""
        return all(self.weights[mask].sum() > 0 for pair in self.masks for mask in pair)


def _find_in_order(parts: _Parts, decision: Decision, prior: float) -> float:
    """Rows without weight are not there."""
    counted = parts.weights > 0
    log_odds = parts.log_odds[counted]
    # Candidate j calls the rows from places[j] on fake; no two rows of equal score are parted.
    places = np.concatenate([[0], np.flatnonzero(np.diff(log_odds)) + 1, [len(log_odds)]])
    shares = [
        [_share_above((parts.weights * mask)[counted], places) for mask in pair]
        for pair in parts.masks
    ]
    fpr, tpr = (np.stack(found) for found in zip(*shares, strict=True))
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
    """The candidate that does best in the worst tier; rates `(t, candidates)`.

    They fall from the first candidate, which calls all rows fake, to the last.
    """
    if decision.threshold == "fpr":
        assert decision.target is not None
        return int(np.argmax(fpr.max(axis=0) <= decision.target + ROUNDING))
    if decision.threshold == "tpr":
        assert decision.target is not None
        return int(np.flatnonzero(tpr.min(axis=0) >= decision.target - ROUNDING)[-1])
    values = _rate(fpr, tpr, decision, prior).min(axis=0)
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


def _measure_rates(rows: ChoiceRows, threshold: float) -> TierRates:
    fpr, tpr = (_measure_rate(rows, threshold, label) for label in (0, 1))
    return TierRates(fpr, tpr)


def _measure_rate(rows: ChoiceRows, threshold: float, label: int) -> Share:
    of_class = (rows.labels == label) & (rows.weights > 0)
    return estimate_share(
        rows.log_odds[of_class] >= threshold, rows.groups[of_class], rows.weights[of_class]
    )


def _describe_shortage(parts: Sequence[ChoiceRows], decision: Decision) -> str:
    """What a target asks of too few rows, of the tier that has fewest."""
    if decision.target is None:
        return ""
    label, kind = (0, "reals") if decision.threshold == "fpr" else (1, "fakes")
    share = decision.target if label == 0 else 1 - decision.target
    count = min(int((rows.labels == label).sum()) for rows in parts)
    if count * share >= 1:
        return ""
    return f"{count} {kind} are too few for a {decision.threshold} of {decision.target:g}"
