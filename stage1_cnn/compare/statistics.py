"""What the runs of a comparison say: means over seeds, differences paired by seed and by row, and
verdicts.

A run is one training; each of its weights (last, EMA) is an entry, so both come from the same runs.

natural, balanced = summarise_runs(runs, ["natural", "balanced"], rows)
balanced.differences["auc"].verdict
balanced.over_rows.describe_difference()
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import chdtri, nctdtr, stdtr, stdtrit

from features.core.auc import AucEstimate, Floats, compare_average_aucs
from features.core.manifest import Ids

Measure = Literal["auc", "accuracy", "balanced_accuracy", "log_loss"]
MEASURES: tuple[Measure, ...] = ("auc", "accuracy", "balanced_accuracy", "log_loss")
TESTED: tuple[Measure, ...] = ("auc", "accuracy")
"""Measures whose difference to the baseline is tested."""
SUFFIX = {"raw": "", "ema": " + EMA"}
LEVEL = 0.95
POWER = 0.8
MOST_SEEDS = 1000
NO_SPREAD = 1e-12
"""A standard deviation up to this is rounding. Figures of a small fold are coarse: the same
difference for two seeds is no proof of anything."""


@dataclass(frozen=True)
class RunScores:
    """What the weights of one training score on rows that it has not seen."""

    rows: int
    variant: str
    seed: int
    scores: Mapping[str, Mapping[str, float | None]]
    """By weights (`raw` for the last, `ema`): the measures, and bounds of the AUC there."""
    log_odds: Mapping[str, Floats] = field(default_factory=dict)
    """By weights `(n,)`: of the rows themselves, where they are those of all runs."""


class RowFacts(NamedTuple):
    """Of the `(n,)` rows that all runs are judged on."""

    labels: npt.NDArray[np.int8]
    groups: Ids


@dataclass(frozen=True)
class SeedMean:
    """A mean over seeds; `half` is half of its 95 % interval, `None` with one seed, as is `sd`."""

    mean: float
    seeds: int
    sd: float | None = None
    half: float | None = None

    @property
    def p(self) -> float | None:
        """Of a two-sided t test of the mean against 0; `None` without a spread over seeds."""
        if self.sd is None or self.sd <= NO_SPREAD:
            return None
        return float(2 * stdtr(self.seeds - 1, -abs(self.mean) / self.sd * math.sqrt(self.seeds)))


@dataclass(frozen=True)
class PairedDifference:
    """An entry minus the baseline, over the seeds that both have."""

    estimate: SeedMean
    p_holm: float | None = None
    """p of the paired t test, corrected for all differences of this measure."""
    diverged: int = 0
    """Seeds that the entry has no weights of: it may not be called better for that."""

    @property
    def seeds_needed(self) -> int | None:
        """See `count_seeds_needed`."""
        return count_seeds_needed(self.estimate.mean, self.estimate.sd)

    @property
    def verdict(self) -> str:
        """`better`, `worse`, `cannot tell with S seeds` or `cannot tell: D seeds diverged`."""
        if self.p_holm is None or self.p_holm > 1 - LEVEL:
            seeds = self.estimate.seeds
            return f"cannot tell with {seeds} seed{'s' if seeds > 1 else ''}"
        if self.estimate.mean < 0:
            return "worse"
        if self.diverged:
            return f"cannot tell: {self.diverged} seed{'s' if self.diverged > 1 else ''} diverged"
        return "better"


@dataclass(frozen=True)
class Entry:
    """One variant's last weights or their average, trained on so many rows."""

    rows: int
    name: str
    seeds: int
    points: Mapping[Measure, Sequence[float]]
    """The single seeds."""
    means: Mapping[Measure, SeedMean]
    differences: Mapping[Measure, PairedDifference]
    """Of the `TESTED` measures; empty for the baseline."""
    over_rows: AucEstimate | None = None
    """Its mean AUC minus that of the baseline, as other rows would move it; over seeds that both
    have."""
    diverged: int = 0
    """Seeds that are left out, since their trainings diverged; without any other, means are NaN."""


def estimate_mean(values: Sequence[float]) -> SeedMean:
    """Mean of one value a seed, with Student's 95 % interval; NaN without any."""
    seeds, mean = len(values), float(np.mean(values)) if values else float("nan")
    if seeds < 2:
        return SeedMean(mean, seeds)
    sd = float(np.std(values, ddof=1))
    half = float(stdtrit(seeds - 1, (1 + LEVEL) / 2)) * sd / math.sqrt(seeds)
    return SeedMean(mean, seeds, sd, half)


def compute_power(effect: float, seeds: int) -> float:
    """Power of a paired two-sided t test at 5 %; `effect` is the mean difference over its sd."""
    freedom, shift = seeds - 1, abs(effect) * math.sqrt(seeds)
    if shift > 30:  # above 0.98 even with 2 seeds, and scipy's series no longer converges
        return 1.0
    limit = stdtrit(freedom, (1 + LEVEL) / 2)
    return float(1 - nctdtr(freedom, shift, limit) + nctdtr(freedom, shift, -limit))


def count_seeds_needed(mean: float, sd: float | None) -> int | None:
    """Fewest seeds that find a difference of this mean and sd with a power of 80 %.

    `None` with one seed, no difference or no spread; 1001 stands for more than 1000.
    """
    if sd is None or sd <= NO_SPREAD or mean == 0:
        return None
    enough = (n for n in range(2, MOST_SEEDS + 1) if compute_power(mean / sd, n) >= POWER)
    return next(enough, MOST_SEEDS + 1)


def adjust_holm(values: Sequence[float]) -> list[float]:
    """p values that hold for all tests together (Holm, Scand. J. Statistics 6, 1979)."""
    adjusted, highest = [0.0] * len(values), 0.0
    for rank, place in enumerate(np.argsort(values)):
        highest = max(highest, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = highest
    return adjusted


def bound_sd(seeds: int) -> tuple[float, float]:
    """95 % interval of a standard deviation as multiples of the observed one (normal values)."""
    beyond = np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    low, high = np.sqrt((seeds - 1) / chdtri(seeds - 1, beyond))
    return float(low), float(high)


def summarise_runs(
    runs: Sequence[RunScores],
    variants: Sequence[str],
    judged: RowFacts | None = None,
    diverged: Iterable[tuple[int, str]] = (),
) -> list[Entry]:
    """One entry for each (rows, variant, weights) with a run, in this order.

    `diverged`: rows and variant of each run that did. A variant all of whose runs did has an entry.

    The baseline of all entries of the same rows is the last weights of the first of `variants`.
    `judged`: the rows whose log-odds the runs hold; without them nothing is said over rows.
    """
    entries, lost = [], Counter(diverged)
    for rows in sorted({run.rows for run in runs} | {rows for rows, _ in lost}):
        baseline: _BySeed = {}
        for variant in variants:
            for weights, suffix in SUFFIX.items():
                own = {
                    run.seed: (run.scores[weights], run.log_odds.get(weights))
                    for run in sorted(runs, key=lambda run: run.seed)
                    if (run.rows, run.variant) == (rows, variant) and weights in run.scores
                }
                count = lost[rows, variant]
                if own or (weights == "raw" and count):
                    entry = _build_entry(rows, variant + suffix, own, baseline, judged)
                    entries.append(_mark_diverged(entry, count))
                if (variant, weights) == (variants[0], "raw"):
                    baseline = own
    return _correct_entries(entries)


def _mark_diverged(entry: Entry, count: int) -> Entry:
    differences = {m: replace(d, diverged=count) for m, d in entry.differences.items()}
    return replace(entry, diverged=count, differences=differences)


def measure_own_limit(runs: Iterable[RunScores]) -> float | None:
    """Median of half the interval that the judged rows leave to an AUC; `None` without any."""
    halves = [
        (scores["auc_high"] - scores["auc_low"]) / 2
        for run in runs
        for scores in run.scores.values()
        if scores["auc_low"] is not None and scores["auc_high"] is not None
    ]
    return float(np.median(halves)) if halves else None


_BySeed = Mapping[int, tuple[Mapping[str, float | None], Floats | None]]
"""Measures and log-odds of each seed."""


def _build_entry(
    rows: int, name: str, own: _BySeed, baseline: _BySeed, judged: RowFacts | None
) -> Entry:
    points = {m: _list_values(own, m) for m in MEASURES}
    means = {m: estimate_mean(values) for m, values in points.items()}
    shared = [seed for seed in own if seed in baseline]
    sides = ({seed: own[seed] for seed in shared}, {seed: baseline[seed] for seed in shared})
    differences: dict[Measure, PairedDifference] = {}
    for measure in TESTED if shared else ():
        first, second = (np.array(_list_values(side, measure)) for side in sides)
        differences[measure] = PairedDifference(estimate_mean((first - second).tolist()))
    over_rows = _compare_over_rows(sides, judged) if shared and judged else None
    return Entry(rows, name, len(own), points, means, differences, over_rows)


def _compare_over_rows(sides: tuple[_BySeed, _BySeed], judged: RowFacts) -> AucEstimate | None:
    """`None` where a run kept no log-odds."""
    first, second = ([odds for _, odds in side.values() if odds is not None] for side in sides)
    if (len(first), len(second)) != tuple(map(len, sides)):
        return None
    return compare_average_aucs(judged.labels, judged.groups, first, second)


def _list_values(by_seed: _BySeed, measure: Measure) -> list[float]:
    """One value a seed; the judged rows have both classes, so all measures are there."""
    values: npt.NDArray[np.float64] = np.array(
        [scores[measure] for scores, _ in by_seed.values()], np.float64
    )
    return values.tolist()


def _correct_entries(entries: Sequence[Entry]) -> list[Entry]:
    """`entries` with the p values of each measure corrected for all of its differences."""
    corrected = [dict(entry.differences) for entry in entries]
    for measure in TESTED:
        tested = [d for d in corrected if measure in d and d[measure].estimate.p is not None]
        found = [p for d in tested if (p := d[measure].estimate.p) is not None]
        for differences, p in zip(tested, adjust_holm(found), strict=True):
            differences[measure] = replace(differences[measure], p_holm=p)
    return [replace(e, differences=d) for e, d in zip(entries, corrected, strict=True)]
