"""Whether a LightGBM model ships: only if it is better than the best simple combiner for sure.

The candidates are declared beforehand, and the risk of a lucky winner, 5 % in all, is shared among
them (Bonferroni). The difference of AUCs is that within each fold, averaged over the folds, on
out-of-fold scores; it is resampled by group within each fold. What the interval leaves out: how
both sides would have come out of other training rows.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np

from features.stack_params import Gate, Stack
from stage2_ensemble.candidates import GATED, fit_candidate, list_candidates
from stage2_ensemble.columns import Floats, FoldColumns
from stage2_ensemble.nested import BEST_SIMPLE, Judged, measure_auc, pick_simple, split_inner
from stage2_ensemble.resampling import CHUNK, draw_counts, number_groups, rank_rows

RISK = 0.05
RESAMPLES = 2000
Outcome = Literal["won", "lost", "too few rows to tell", "worse on unseen domains"]


@dataclass(frozen=True)
class Verdict:
    """One candidate against the best simple combiner: AUC of it minus that of the other."""

    name: str
    difference: float
    low: float
    """One-sided: it is above this with a risk of `RISK` shared among the candidates."""
    high: float
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
        text = f"{self.name}: {self.difference:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"
        if self.domains is not None:
            text += f", {self.domains:+.4f} on generators left out"
        return f"{text}: {self.outcome}"

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
    """A verdict on each candidate that is not simple, in the order of `GATED`."""
    names = [name for name in list_candidates(folds, settings) if name in GATED]
    level = RISK / max(len(names), 1)
    verdicts = []
    for name in names:
        pair = (judged.scores[name], judged.scores[BEST_SIMPLE])
        differences = draw_differences(folds, *pair, seed)
        found = subtract_aucs(folds, *pair)
        low, high = (float(q) for q in np.nanquantile(differences, [level, 1 - level]))
        won = low > gate.margin
        domains = _leave_domains_out(folds, name, settings, seed) if won else None
        outcome: Outcome = "too few rows to tell"
        if won:
            worse = domains is not None and domains < -gate.margin
            outcome = "worse on unseen domains" if worse else "won"
        elif high <= gate.margin:
            outcome = "lost"
        verdicts.append(Verdict(name, found, low, high, domains, outcome))
    return verdicts


def subtract_aucs(
    folds: Sequence[FoldColumns], first: Sequence[Floats], second: Sequence[Floats]
) -> float:
    """AUC of the `first` scores minus that of the `second`, the mean over the folds."""
    aucs = (measure_auc(folds, scores) for scores in (first, second))
    return float(np.mean([a - b for a, b in zip(*aucs, strict=True)]))


def draw_differences(
    folds: Sequence[FoldColumns], first: Sequence[Floats], second: Sequence[Floats], seed: int
) -> Floats:
    """`(RESAMPLES,)` of the same differences, on groups drawn within each fold."""
    total = np.zeros(RESAMPLES)
    for i, columns in enumerate(folds):
        groups = number_groups(columns.labels, columns.groups)
        pair = [rank_rows(columns.labels, scores[i], groups.numbers) for scores in (first, second)]
        chunk = max(1, CHUNK // len(columns))
        drawn = draw_counts(groups.count, RESAMPLES, chunk, seed + columns.fold)
        with np.errstate(invalid="ignore"):  # a class that was not drawn at all
            differences = [
                pair[0].weigh(counts).measure_auc() - pair[1].weigh(counts).measure_auc()
                for counts in drawn
            ]
        total += np.concatenate(differences) / len(folds)
    return total


def _leave_domains_out(
    folds: Sequence[FoldColumns], name: str, settings: Stack, seed: int
) -> float | None:
    """Mean difference of AUC on the fakes of one generator at a time, which nobody learned from.

    Against reals that nobody learned from either: another part of them for each generator.
    """
    domains = [columns.domains for columns in folds]
    if any(d is None for d in domains):
        return None
    known = sorted({str(g) for d in domains if d is not None for g in np.unique(d)} - {""})
    if len(known) < 2:
        return None
    parts = split_inner(folds, settings.inner_folds, seed)
    differences = []
    for place, generator in enumerate(known):
        rest, out = [], []
        for columns, part, own in zip(folds, parts, domains, strict=True):
            assert own is not None
            fakes = own == generator
            reals = (columns.labels == 0) & (part == place % settings.inner_folds)
            # Groups may hold fakes of every generator, so they are not left out as wholes: of
            # those that are learned from, the fakes of this one are left out and not scored.
            learned = ~fakes & ~np.isin(columns.groups, columns.groups[reals])
            scored = (fakes | reals) & ~np.isin(columns.groups, columns.groups[learned])
            rest.append(columns.take(learned))
            out.append(columns.take(scored))
        if any(len(np.unique(columns.labels)) < 2 for columns in rest):
            continue
        simple = fit_candidate(pick_simple(rest, settings, seed).name, rest, settings, seed)
        model = fit_candidate(name, rest, settings, seed)
        for held in out:
            if len(np.unique(held.labels)) == 2:
                aucs = [measure_auc([held], [m.score(held)])[0] for m in (model, simple)]
                differences.append(aucs[0] - aucs[1])
    return float(np.mean(differences)) if differences else None


def choose_shipped(verdicts: Sequence[Verdict], simple: str) -> str:
    """The candidate that has won by most for sure, or the simple one."""
    winners = [verdict for verdict in verdicts if verdict.ships]
    return max(winners, key=lambda verdict: verdict.low).name if winners else simple
