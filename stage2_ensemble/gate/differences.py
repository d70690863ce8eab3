"""AUCs of out-of-fold scores and their differences: within each fold, averaged over the folds.

Scores of different folds come from different models, so they are never ranked together. Groups are
resampled within each fold. What an interval leaves out: how both sides would have come out of other
training rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from features.core.auc import find_auc
from features.runtime.progress import track
from stage2_ensemble.columns.columns import Floats, FoldColumns, Mask
from stage2_ensemble.measures.resampling import (
    CHUNK,
    draw_counts,
    find_percentiles,
    index_groups,
    rank_rows,
)

RESAMPLES = 2000


@dataclass(frozen=True)
class Gain:
    """Difference of two AUCs, with an interval."""

    difference: float
    low: float
    high: float


def measure_fold_aucs(folds: Sequence[FoldColumns], scores: Sequence[Floats]) -> list[float]:
    """AUC within each fold."""
    return [find_auc(c.labels, s) for c, s in zip(folds, scores, strict=True)]


def compare_fold_aucs(
    folds: Sequence[FoldColumns],
    ours: Sequence[Floats],
    theirs: Sequence[Floats],
    level: float,
    seed: int,
    masks: Sequence[Mask] | None = None,
) -> Gain:
    """AUC within each fold of `ours` minus that of `theirs`, the mean over folds.

    On rows of `masks` alone, where given. `level`: the risk on either side of the interval, which
    is wider the fewer groups there are: `find_percentiles`.
    """
    if masks is not None:
        folds = [
            replace(columns, embeddings=(), extras=None).take(mask)
            for columns, mask in zip(folds, masks, strict=True)
        ]
        ours, theirs = (
            [scores[mask] for scores, mask in zip(side, masks, strict=True)]
            for side in (ours, theirs)
        )
    drawn = draw_differences(folds, ours, theirs, seed)
    bounds = find_percentiles(drawn[~np.isnan(drawn)], count_least_groups(folds), level)
    return Gain(subtract_aucs(folds, ours, theirs), *bounds)


def count_least_groups(folds: Sequence[FoldColumns], masks: Sequence[Mask] | None = None) -> int:
    """Groups of the class that has fewer of them, in the fold that has fewest.

    Among rows of `masks` alone, where given.
    """
    pairs = [(columns.labels, columns.groups) for columns in folds]
    if masks is not None:
        pairs = [(own[0][mask], own[1][mask]) for own, mask in zip(pairs, masks, strict=True)]
    return min(index_groups(*own).least for own in pairs)


def subtract_aucs(
    folds: Sequence[FoldColumns], ours: Sequence[Floats], theirs: Sequence[Floats]
) -> float:
    """AUC of `ours` minus that of `theirs`, the mean over the folds."""
    return float(
        np.mean(np.subtract(measure_fold_aucs(folds, ours), measure_fold_aucs(folds, theirs)))
    )


def draw_differences(
    folds: Sequence[FoldColumns], ours: Sequence[Floats], theirs: Sequence[Floats], seed: int
) -> Floats:
    """`(RESAMPLES,)` of the same differences, on groups drawn within each fold."""
    total = np.zeros(RESAMPLES)
    for columns, own, other in zip(folds, ours, theirs, strict=True):
        blocks = draw_within(columns, own, other, RESAMPLES, seed)
        tracked = track(blocks, "resample", RESAMPLES, unit="draws", size=len)
        total += np.concatenate(list(tracked)) / len(folds)
    return total


def draw_within(
    columns: FoldColumns, ours: Floats, theirs: Floats, resamples: int, seed: int
) -> Iterator[Floats]:
    """The same differences on groups drawn within one fold, in blocks; NaN without a class."""
    groups = index_groups(columns.labels, columns.groups)
    pair = [rank_rows(columns.labels, scores, groups.numbers) for scores in (ours, theirs)]
    chunk = max(1, CHUNK // len(columns))
    for counts in draw_counts(groups.count, resamples, chunk, seed + columns.fold):
        with np.errstate(invalid="ignore"):  # a class that was not drawn at all
            difference = pair[0].weigh(counts).measure_auc() - pair[1].weigh(counts).measure_auc()
        yield difference
