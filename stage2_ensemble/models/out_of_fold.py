"""How every candidate does on rows that it was not fitted on, by repeated group-aware CV.

A fitted model has seen its rows' labels, so choices and thresholds use these scores instead. All
that a candidate does with labels happens inside each training part, on parts of that part.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from features.settings.stacking import Stack
from features.splits.folds import split_evenly
from stage2_ensemble.columns.columns import Floats, FoldColumns, Parts, check_fittable, count_parts
from stage2_ensemble.decisions.calibrators import Platt
from stage2_ensemble.models.candidates import SIMPLE, fit_candidate, fit_candidates, list_fittable

BEST_SIMPLE = "best simple"
"""Not a candidate: the simple combiner that each training part would have chosen."""


@dataclass(frozen=True)
class Judged:
    """Out-of-fold scores, averaged over the repeats."""

    scores: dict[str, list[Floats]]
    """By candidate and `BEST_SIMPLE`; one array `(n,)` for each fold."""
    picks: dict[str, int]
    """How often each simple combiner was chosen."""


def split_inner(folds: Sequence[FoldColumns], parts: int, seed: int) -> list[Parts]:
    """For each fold `(n,)` parts of its rows, by group."""
    for columns in folds:
        check_fittable(columns)
    return [split_evenly(c.labels, c.groups, parts, seed + c.fold) for c in folds]


def judge_candidates(
    folds: Sequence[FoldColumns],
    settings: Stack,
    seed: int,
    advance: Callable[[], None] = lambda: None,
) -> Judged:
    """Every candidate on all rows: each is scored by models that its group had no part in.

    Boosted models are single fits, with another seed in each repeat; what ships is averaged over
    `stack.bags`, which does it no harm. `advance` is called after each of `repeats` times
    `inner_folds` parts of the rows.
    """
    names = list_fittable(folds, settings)
    once = settings.model_copy(update={"bags": 1})
    scores = {name: [np.zeros(len(c)) for c in folds] for name in (*names, BEST_SIMPLE)}
    picks = dict.fromkeys(SIMPLE, 0)
    for repeat in range(settings.repeats):
        own = seed + 1000 * repeat
        parts = split_inner(folds, settings.inner_folds, own)
        for held_out in range(settings.inner_folds):
            rest = [c.take(part != held_out) for c, part in zip(folds, parts, strict=True)]
            picked = pick_simple(rest, settings, seed)
            picks[picked.name] += 1
            for name, model in fit_candidates(names, rest, once, own).items():
                for columns, part, total, best in zip(
                    folds, parts, scores[name], scores[BEST_SIMPLE], strict=True
                ):
                    out = part == held_out
                    found = model.score(columns.take(out)) / settings.repeats
                    total[out] += found
                    if name == picked.name:
                        best[out] += picked.scale * found + picked.offset / settings.repeats
            advance()
    return Judged(scores, picks)


@dataclass(frozen=True)
class Pick:
    """The simple combiner that some rows would choose."""

    name: str
    scale: float = 1.0
    offset: float = 0.0
    """Its scores times `scale` plus `offset` are log-odds that compare to those of other combiners
    (Platt's scaling, on out-of-fold scores): each training part may choose another one. The scale
    is above 0, on noise too."""


def pick_simple(folds: Sequence[FoldColumns], settings: Stack, seed: int) -> Pick:
    """The simple combiner with the highest out-of-fold AUC, the mean over folds.

    Of equals the simplest, which rows too few to be split would choose as well.
    """
    if count_parts(folds, settings.inner_folds) < 2:
        return Pick(SIMPLE[0])
    # Embeddings and the like are not looked at, and are large.
    bare = [replace(columns, embeddings=(), extras=None) for columns in folds]
    scores = dict(score_simple(bare, settings, seed))
    aucs = {name: float(np.mean(measure_fold_aucs(bare, found))) for name, found in scores.items()}
    name = max(SIMPLE, key=lambda name: aucs[name])
    labels = np.concatenate([columns.labels for columns in folds])
    weights = np.concatenate([columns.weights for columns in folds])
    line = Platt().fit(np.concatenate(scores[name]), labels, weights)
    return Pick(name, line.slope_, line.intercept_)


def score_simple(
    folds: Sequence[FoldColumns], settings: Stack, seed: int
) -> Iterator[tuple[str, list[Floats]]]:
    """Out-of-fold scores of each simple combiner, by fold."""
    count = count_parts(folds, settings.inner_folds)
    parts = split_inner(folds, count, seed)
    for name in SIMPLE:
        scores = [np.empty(len(columns)) for columns in folds]
        for held_out in range(count):
            rest = [c.take(part != held_out) for c, part in zip(folds, parts, strict=True)]
            model = fit_candidate(name, rest, settings, seed)
            for columns, part, score in zip(folds, parts, scores, strict=True):
                score[part == held_out] = model.score(columns.take(part == held_out))
        yield name, scores


def measure_fold_aucs(folds: Sequence[FoldColumns], scores: Sequence[Floats]) -> list[float]:
    """AUC within each fold; scores of different folds come from different models."""
    from sklearn.metrics import roc_auc_score  # late: scoring does without

    return [float(roc_auc_score(c.labels, s)) for c, s in zip(folds, scores, strict=True)]
