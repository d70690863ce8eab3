"""Whether a LightGBM model ships: only if the interval of its gain lies above the margin.

The gain is that in AUC over the best simple combiner. The candidates are declared beforehand, and
the risk of a lucky winner, 5 % in all, is shared among them (Bonferroni). The gain over the plain
mean must lie there, too: what is best on the rows of a training part is a little worse than chance
on the rest where nothing is to be learned, so the best simple combiner alone is too easily beaten
(in 21 of 300 worlds of noise; both in 5).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np

from features.core.number_text import format_difference, format_least
from features.runtime.progress import track
from features.settings.stacking import Gate, Stack
from stage2_ensemble.columns.columns import FoldColumns, Mask
from stage2_ensemble.columns.tuning_half import mark_untuned
from stage2_ensemble.models.candidates import GATED, fit_candidate, list_fittable
from stage2_ensemble.models.combiners import Mean
from stage2_ensemble.models.differences import compare_fold_aucs
from stage2_ensemble.models.out_of_fold import (
    BEST_SIMPLE,
    Judged,
    measure_fold_aucs,
    pick_simple,
    split_inner,
)

RISK = 0.05
Outcome = Literal["won", "lost", "too few rows to tell", "worse on unseen domains"]


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
    domains: float | None
    """The same difference on fakes of generators that neither side learned from, their mean;
    `None` where fewer than two are known."""
    outcome: Outcome

    @property
    def ships(self) -> bool:
        """Whether it may ship."""
        return self.outcome == "won"

    def describe(self) -> str:
        """`lightgbm: +0.0031 [-0.0002, +0.0064] against the best simple one: too few …`."""
        text = f"{self.name}: {self.describe_difference()}"
        if self.mean_low < self.low:
            text += f", against the plain mean {format_least(self.mean_low)} at least"
        if self.domains is not None:
            text += f", {format_difference(self.domains)} on generators left out"
        return f"{text}: {self.outcome}"

    def describe_difference(self) -> str:
        """`+0.0031 [-0.0002, +0.0064]`."""
        return format_difference(self.difference, self.low, self.high)

    def to_json(self) -> dict[str, Any]:
        """As it stands in JSON files."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(**values)


def hold_gate(
    folds: Sequence[FoldColumns], judged: Judged, settings: Stack, gate: Gate, seed: int
) -> list[Verdict]:
    """A verdict on each judged candidate that is not simple, in the order of `GATED`.

    The risk is shared among all that `settings` declare. With `gate.rows: untuned` nothing but
    these rows decides; raises `ManifestError` where they are too few.
    """
    names = [name for name in list_fittable(folds, settings) if name in GATED]
    level = RISK / max(len(names), 1)
    masks = mark_untuned(folds) if gate.rows == "untuned" else None
    verdicts = []
    for name in [name for name in names if name in judged.scores]:
        gain, over_mean = (
            compare_fold_aucs(folds, judged.scores[name], judged.scores[other], level, seed, masks)
            for other in (BEST_SIMPLE, Mean.name)
        )
        won = min(gain.low, over_mean.low) > gate.margin
        domains = _leave_domains_out(folds, name, settings, seed, masks) if won else None
        outcome: Outcome = "too few rows to tell"
        if won:
            worse = domains is not None and domains < -gate.margin
            outcome = "worse on unseen domains" if worse else "won"
        elif min(gain.high, over_mean.high) <= gate.margin:
            outcome = "lost"
        ends = (gain.low, gain.high, over_mean.low)
        verdicts.append(Verdict(name, gain.difference, *ends, domains, outcome))
    return verdicts


def _leave_domains_out(
    folds: Sequence[FoldColumns],
    name: str,
    settings: Stack,
    seed: int,
    masks: Sequence[Mask] | None = None,
) -> float | None:
    """Mean difference of AUC on the fakes of one generator at a time, which nobody learned from.

    Against reals that nobody learned from either: another part of them for each generator. Only
    rows of `masks` are scored.
    """
    domains = [columns.domains for columns in folds]
    if any(d is None for d in domains):
        return None
    known = sorted({str(g) for d in domains if d is not None for g in np.unique(d)} - {""})
    if len(known) < 2:
        return None
    parts = split_inner(folds, settings.inner_folds, seed)
    counted = [np.ones(len(c), bool) for c in folds] if masks is None else masks
    differences = []
    title = f"gate: {name}, generators left out"
    for place, generator in enumerate(track(known, title, len(known), unit="generators")):
        rest, out = [], []
        for columns, part, own, mask in zip(folds, parts, domains, counted, strict=True):
            assert own is not None
            fakes = own == generator
            reals = (columns.labels == 0) & (part == place % settings.inner_folds)
            # Groups may hold fakes of every generator, so they are not left out as wholes: of
            # those that are learned from, the fakes of this one are left out and not scored.
            learned = ~fakes & ~np.isin(columns.groups, columns.groups[reals])
            scored = mask & (fakes | reals) & ~np.isin(columns.groups, columns.groups[learned])
            rest.append(columns.take(learned))
            out.append(columns.take(scored))
        if any(len(np.unique(columns.labels)) < 2 for columns in rest):
            continue
        simple = fit_candidate(pick_simple(rest, settings, seed).name, rest, settings, seed)
        model = fit_candidate(name, rest, settings, seed)
        for columns in out:
            if len(np.unique(columns.labels)) == 2:
                aucs = [
                    measure_fold_aucs([columns], [m.score(columns)])[0] for m in (model, simple)
                ]
                differences.append(aucs[0] - aucs[1])
    return float(np.mean(differences)) if differences else None


def choose_shipped(verdicts: Sequence[Verdict], simple: str) -> str:
    """The candidate that has won with the highest lower bound, or the simple one."""
    winners = [verdict for verdict in verdicts if verdict.ships]
    return max(winners, key=lambda verdict: verdict.low).name if winners else simple
