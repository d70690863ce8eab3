"""Metrics of resampled groups, and intervals: how a figure moves with the rows it is measured on.

Groups are drawn with replacement, as many as there are; each row counts as often as its group was
drawn. Rows of one unit (a video, a person) are of one group, so units are never torn. The counts
follow from the seed alone: all scores on the same rows meet the same draws, and their differences
are paired. Scores are sorted once; metrics come from sums of counts in that order, chunk by chunk:
memory does not grow with the number of resamples. Training is not repeated: how figures move with
its seed is not in here.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, ndtr, stdtrit

from features.core.auc import LEVEL
from features.core.manifest import Ids
from stage2_ensemble.columns.columns import Floats, Labels
from stage2_ensemble.measures.metrics import RATES, measure_losses
from stage2_ensemble.measures.reliability import BINS, find_bins

RESAMPLES = 1000
SEED = 0
LEAST_GROUPS = 20
"""With fewer groups of a class, an interval is not reliable."""
CHUNK = 1 << 18
"""Rows times resamples that are counted at a time."""
PLAIN = 5
"""Sums by group that are no residuals of a bin."""
Bounds = tuple[float, float] | tuple[None, None]


@dataclass(frozen=True)
class Groups:
    """Which group each row is of, and how many groups there are."""

    numbers: Ids
    """`(n,)` 0 … count-1."""
    count: int
    least: int
    """Groups with rows of the class that has fewer such groups."""

    @property
    def reliable(self) -> bool:
        """There are enough of both classes for an interval."""
        return self.least >= LEAST_GROUPS

    def to_metrics(self) -> dict[str, int | bool]:
        """As it stands in JSON files."""
        return {"groups": self.count, "reliable": self.reliable}


def index_groups(labels: Labels, groups: Ids) -> Groups:
    """`groups` are `(n,)` numbers of any kind."""
    known, numbers = np.unique(groups, return_inverse=True)
    least = min(len(np.unique(numbers[labels == label])) for label in (0, 1))
    return Groups(numbers, len(known), least)


def draw_counts(groups: int, resamples: int, chunk: int, seed: int = SEED) -> Iterator[Ids]:
    """How often each resample draws each group: blocks `(c, groups)` of at most `chunk` resamples.

    The counts of a resample depend on the seed and its place, not on the chunk.
    """
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        drawn = rng.integers(groups, size=(size, groups))
        drawn += np.arange(size)[:, None] * groups
        yield np.bincount(drawn.ravel(), minlength=size * groups).reshape(size, groups)


@dataclass(frozen=True)
class Weighed:
    """Rows at each distinct score of fakes, highest first, counted as often as they were drawn.

    `(c, d)` for c resamples; `fakes` and `reals` are all that were drawn, `(c,)`.
    """

    found: Ids
    """Fakes at or above."""
    above: Ids
    """Reals above."""
    until: Ids
    """Reals at or above."""
    fakes: Ids
    reals: Ids

    def measure_auc(self) -> Floats:
        """`(c,)`; ties count half."""
        gained = np.diff(self.found, axis=1, prepend=0)
        wrong = np.einsum("cd,cd->c", gained, self.above + self.until)
        return np.asarray(1 - wrong / (2.0 * self.fakes * self.reals))

    def measure_ap(self) -> Floats:
        """`(c,)` average precision; ties all in or all out."""
        gained = np.diff(self.found, axis=1, prepend=0)
        precision = self.found / np.maximum(self.found + self.until, 1)
        return np.asarray(np.einsum("cd,cd->c", gained, precision) / self.fakes)

    def measure_tpr(self, rate: float) -> Floats:
        """`(c,)` as `metrics.measure_tpr`, and 0 reals may stand above where it gives `None`."""
        passed = (self.until / self.reals[:, None] <= rate).sum(axis=1)
        found = np.take_along_axis(self.found, np.maximum(passed - 1, 0)[:, None], axis=1)[:, 0]
        return np.where(passed > 0, found, 0) / self.fakes


@dataclass(frozen=True)
class Ranking:
    """Fakes and reals by score, sorted once."""

    fakes: Ids
    """`(f,)` group numbers of the fakes, highest score first."""
    reals: Ids
    """`(r,)` of the reals."""
    ends: Ids
    """`(d,)` for each distinct score of fakes, highest first: fakes at or above it, …"""
    above: Ids
    """… reals above it, …"""
    until: Ids
    """… and reals at or above it."""

    def weigh(self, counts: Ids) -> Weighed:
        """`counts` `(c, g)`: how often each group counts."""
        fakes, reals = (_accumulate(counts.take(rows, axis=1)) for rows in (self.fakes, self.reals))
        return Weighed(
            found=fakes.take(self.ends, axis=1),
            above=reals.take(self.above, axis=1),
            until=reals.take(self.until, axis=1),
            fakes=fakes[:, -1],
            reals=reals[:, -1],
        )


def rank_rows(labels: Labels, scores: Floats, numbers: Ids) -> Ranking:
    """`(n,)` rows of both classes; `numbers` are those of their groups."""
    order = np.argsort(-scores, kind="stable")
    fakes, reals = (order[labels[order] == label] for label in (1, 0))
    ends = np.flatnonzero(np.append(np.diff(scores[fakes]) != 0, True)) + 1
    falling, distinct = -scores[reals], -scores[fakes[ends - 1]]
    return Ranking(
        fakes=numbers[fakes],
        reals=numbers[reals],
        ends=ends,
        above=np.searchsorted(falling, distinct, side="left"),
        until=np.searchsorted(falling, distinct, side="right"),
    )


def _accumulate(weights: Ids) -> Ids:
    """`(c, m)` into `(c, m + 1)`: the sums of the first 0 … m."""
    sums = np.zeros((len(weights), weights.shape[1] + 1), np.int64)
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums


@dataclass(frozen=True)
class Resamples:
    """What was measured on the resamples, in the order of their draws."""

    values: dict[str, Floats]
    """`(m,)` of each metric."""
    noise: Floats
    """`(m,)` the ECE that chance alone gives: by how much residuals of bins left the rows' own."""
    dropped: int
    """Resamples that lacked a class and were left out."""


def measure_resamples(
    labels: Labels,
    scores: Floats,
    groups: Groups,
    threshold: float,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Resamples:
    """The metrics of `metrics.measure_scores` on each resample of `(n,)` rows of both classes.

    The bins of the ECE are those of the rows themselves, in every resample.
    """
    ranking = rank_rows(labels, scores, groups.numbers)
    sums = _sum_rows(labels, scores, groups, threshold)
    residuals = sums[PLAIN:].sum(axis=1, keepdims=True) / len(labels)
    blocks, noise = [], []
    for counts in draw_counts(groups.count, resamples, max(1, CHUNK // len(labels)), seed):
        totals = np.einsum("cg,kg->kc", counts.astype(np.float64), sums)
        both = (totals[:2] > 0).all(axis=0)
        totals = totals[:, both]
        blocks.append(_measure_block(ranking.weigh(counts[both]), totals))
        noise.append(np.abs(totals[PLAIN:] / totals[:2].sum(axis=0) - residuals).sum(axis=0))
    values = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    return Resamples(values, np.concatenate(noise), resamples - len(values["auc"]))


def _sum_rows(labels: Labels, scores: Floats, groups: Groups, threshold: float) -> Floats:
    """`(PLAIN + bins, g)` by group: reals, fakes, right ones of each, losses, residuals by bin."""
    is_fake, answers = labels == 1, scores >= threshold
    rows = [
        ~is_fake,
        is_fake,
        ~is_fake & ~answers,
        is_fake & answers,
        measure_losses(labels, scores),
    ]
    sums = [np.bincount(groups.numbers, row, minlength=groups.count) for row in rows]
    places = find_bins(scores) * groups.count + groups.numbers
    size = BINS * groups.count
    residuals = np.bincount(places, labels - expit(scores), minlength=size)
    return np.concatenate([np.stack(sums), residuals.reshape(BINS, groups.count)])


def _measure_block(weighed: Weighed, totals: Floats) -> dict[str, Floats]:
    """`(c,)` of each metric; `totals` `(PLAIN + bins, c)` are sums over the rows drawn."""
    reals, fakes, right_reals, right_fakes, losses = totals[:PLAIN]
    rows = reals + fakes
    return {
        "auc": weighed.measure_auc(),
        "ap": weighed.measure_ap(),
        "accuracy": (right_reals + right_fakes) / rows,
        "balanced_accuracy": (right_reals / reals + right_fakes / fakes) / 2,
        **{name: weighed.measure_tpr(rate) for name, rate in RATES.items()},
        "log_loss": losses / rows,
        "ece": np.abs(totals[PLAIN:]).sum(axis=0) / rows,
    }


def find_bounds(name: str, value: float, resamples: Resamples, least: int) -> Bounds:
    """The 95 % interval of a metric, which holds its `value` on the rows themselves.

    Percentiles, because they stay within the range of a metric and follow its skew. They are moved
    outwards by Student's quantile for `least` groups (Hesterberg, The American Statistician 69,
    2015), without which 20 groups give intervals that are 10 % too narrow. In simulations they held
    as many true values as BCa intervals or more, which take another pass a group; intervals
    mirrored at the value held 8 to 17 of 100 true TPRs less.

    None where a class has fewer than 2 groups. Where all resamples are faultless, or all wrong,
    the rule of three stands for them, as in `features.core.auc`.
    """
    values = resamples.values[name]
    if least < 2 or not len(values):
        return None, None
    low, high = find_percentiles(values, least)
    if name == "ece":
        low = _lower_ece(value, low, high, find_percentiles(resamples.noise, least)[1])
    elif name != "log_loss" and low == high in (0, 1):
        limit = float((1 - LEVEL) ** (1 / least))
        low, high = (limit, 1.0) if low == 1 else (0.0, 1 - limit)
    return min(low, value), max(high, value)


def find_paired_bounds(name: str, one: Resamples, other: Resamples, least: int) -> Bounds:
    """The interval of `one`'s metric minus the `other`'s, both on the same draws."""
    differences = one.values[name] - other.values[name]
    if least < 2 or not len(differences):
        return None, None
    return find_percentiles(differences, least)


def _lower_ece(value: float, low: float, high: float, noise: float) -> float:
    """The lower bound of an ECE; `noise` is the highest that chance alone makes likely.

    Chance adds to an ECE, and adds again when rows are drawn: percentiles of scores that are right
    lie above their ECE of 0, in 100 of 100 simulated cases.
    """
    return 0.0 if value <= noise else max(0.0, min(low, 2 * value - high))


def find_percentiles(
    values: Floats, least: int, risk: float = (1 - LEVEL) / 2
) -> tuple[float, float]:
    """The middle of resampled values, moved outwards for `least` groups, at least 2.

    `risk`: the share that is left out on either side where groups are many.
    """
    spread = np.sqrt(least / (least - 1))
    share = float(ndtr(spread * stdtrit(least - 1, risk)))
    low, high = np.quantile(values, [share, 1 - share])
    return float(low), float(high)
