"""Whether a LightGBM model ships: only if the interval of its gain lies above the margin.

The gain is that in AUC over the best simple combiner. The candidates are declared beforehand, and
the risk of a lucky winner, 5 % in all, is shared among them (Bonferroni). The gain over the plain
mean must lie there, too: what is best on the rows of a training split is a little worse than chance
on the rest where nothing is to be learned, so the best simple combiner alone is too easily beaten
(in 21 of 300 worlds of noise; both in 5). And on generators, and on sources of reals, that it did
not learn from it must be no worse than the simple one: `stage2_ensemble.gate.unseen`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import numpy as np

from features.core.number_text import format_difference, format_least
from features.errors import ConfigError
from features.settings.stacking import Gate, Stack
from stage2_ensemble.columns.columns import FoldColumns
from stage2_ensemble.columns.tuning_half import mark_untuned
from stage2_ensemble.gate.differences import compare_fold_aucs, count_least_groups
from stage2_ensemble.gate.out_of_fold import BEST_SIMPLE, Judged
from stage2_ensemble.gate.unseen import Unseen, UnseenGain, leave_domains_out
from stage2_ensemble.measures.resampling import LEAST_GROUPS
from stage2_ensemble.models.candidates import GATED, list_fittable
from stage2_ensemble.models.combiners import Mean

RISK = 0.05
WON, LOST, UNDECIDED = "won", "lost", "too few rows to tell"
WORSE = {
    "generators": "worse on unseen generators",
    "sources of reals": "worse on unseen sources of reals",
    "clusters of reals": "worse on unseen clusters of reals",
    "generators and sources of reals": "worse where generators and sources of reals are unseen",
    "generators and clusters of reals": "worse where generators and clusters of reals are unseen",
}
"""Outcomes of what would have won, but for domains that nobody learned from."""


@dataclass(frozen=True)
class Verdict:
    """One candidate against the best simple combiner: AUC of it minus that of the other."""

    name: str
    difference: float
    low: float
    """One-sided: it is above this with a risk of `RISK` shared among the candidates."""
    high: float
    mean_low: float
    """As `low`, against the plain mean of the backbones."""
    outcome: str
    """`WON`, `LOST`, `UNDECIDED` or one of `WORSE`."""
    groups: int
    """Of the class that has fewer of them, in the fold that has fewest."""
    unseen: tuple[UnseenGain, ...] = ()
    """The same difference on domains that neither side learned from, of what has won on the rows
    of all domains; none where fewer than two are known."""
    unknown: Mapping[str, str] = field(default_factory=dict)
    """Kinds of domains that it could not be tried on, and why."""

    @property
    def ships(self) -> bool:
        """Whether it may ship."""
        return self.outcome == WON

    def weigh(self, unseen: Unseen, margin: float) -> Self:
        """What has won, on domains that nobody learned from: worse than the margin stays home."""
        gains = unseen.gains[self.name]
        worse = [WORSE[gain.kind] for gain in gains if gain.difference < -margin]
        outcome = worse[0] if worse else self.outcome
        return replace(self, outcome=outcome, unseen=gains, unknown=unseen.unknown)

    def describe(self) -> str:
        """`lightgbm: +0.0031 [-0.0002, +0.0064]: too few rows to tell`."""
        text = f"{self.name}: {self.describe_difference()}"
        if self.mean_low < self.low:
            text += f", against the plain mean {format_least(self.mean_low)} at least"
        for gain in self.unseen:
            text += f", {gain.describe()}"
        return f"{text}: {self.outcome}"

    def describe_difference(self) -> str:
        """`+0.0031 [-0.0002, +0.0064]`."""
        return format_difference(self.difference, self.low, self.high)

    def to_json(self) -> dict[str, Any]:
        """As it stands in JSON files."""
        return asdict(self) | {"unseen": [asdict(gain) for gain in self.unseen]}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        unseen = tuple(UnseenGain.from_json(gain) for gain in values["unseen"])
        return cls(**(values | {"unseen": unseen}))


def hold_gate(
    folds: Sequence[FoldColumns], judged: Judged, settings: Stack, gate: Gate, seed: int
) -> list[Verdict]:
    """A verdict on each judged candidate that is not simple, in the order of `GATED`.

    The risk is shared among all that `settings` declare. With `gate.rows: untuned` nothing but
    these rows decides; raises `ManifestError` where they are too few.
    """
    names = [name for name in list_fittable(folds, settings) if name in GATED]
    level = RISK / max(len(names), 1)
    untuned = gate.rows == "untuned"
    masks = mark_untuned(folds) if untuned else [np.ones(len(c), bool) for c in folds]
    groups = count_least_groups(folds, masks)
    verdicts = []
    for name in [name for name in names if name in judged.scores]:
        gain, over_mean = (
            compare_fold_aucs(folds, judged.scores[name], judged.scores[other], level, seed, masks)
            for other in (BEST_SIMPLE, Mean.name)
        )
        outcome = UNDECIDED
        if min(gain.low, over_mean.low) > gate.margin:
            outcome = WON
        elif min(gain.high, over_mean.high) <= gate.margin:
            outcome = LOST
        bounds = (gain.low, gain.high, over_mean.low)
        verdicts.append(Verdict(name, gain.difference, *bounds, outcome, groups))
    winners = [verdict.name for verdict in verdicts if verdict.ships]
    if not winners:
        return verdicts
    unseen = leave_domains_out(folds, winners, settings, seed, masks, gate.pseudo_sources)
    return [v.weigh(unseen, gate.margin) if v.ships else v for v in verdicts]


def choose_shipped(verdicts: Sequence[Verdict], simple: str) -> str:
    """The candidate that has won with the highest lower bound, or the simple one."""
    winners = [verdict for verdict in verdicts if verdict.ships]
    return max(winners, key=lambda verdict: verdict.low).name if winners else simple


def describe_choice(verdicts: Sequence[Verdict], gate_choice: str, shipped: str) -> list[str]:
    """What is to be known of the choice besides the verdicts, in sentences."""
    sentences = []
    if shipped != gate_choice:
        sentences.append(
            f"the gate chose {gate_choice}; {shipped} ships because gate.ship names it"
        )
    groups = min((verdict.groups for verdict in verdicts), default=LEAST_GROUPS)
    if groups < LEAST_GROUPS:
        sentences.append(
            "the gate's intervals are not to be relied on, as a fold has but "
            f"{groups} groups of a class"
        )
    for verdict in verdicts:
        if verdict.ships:
            sentences += [
                f"how {verdict.name} does on other {kind} is not known: {why}"
                for kind, why in verdict.unknown.items()
            ]
    return sentences


def check_ship(wanted: str, fittable: Sequence[str]) -> None:
    """Raises `ConfigError` where `gate.ship` names a candidate that will not be fitted."""
    if wanted not in ("auto", *fittable):
        problem = f"gate.ship {wanted}: it cannot be fitted; there are {', '.join(fittable)}"
        advice = "stack.candidates must name it, and its rows must suffice (docs/guide/gate.md)."
        raise ConfigError("params.yaml", [problem], advice)
