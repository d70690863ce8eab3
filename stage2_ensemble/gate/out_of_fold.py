"""How every candidate does on rows that it was not fitted on, by repeated group-aware CV.

A fitted model has seen its rows' labels, so choices and thresholds use these scores instead. All
that a candidate does with labels happens inside each training split, on inner folds of that split.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from features.settings.stacking import Stack
from stage2_ensemble.columns.columns import Floats, FoldColumns
from stage2_ensemble.models.best_simple import split_inner
from stage2_ensemble.models.candidates import SIMPLE, fit_candidates, list_fittable

BEST_SIMPLE = "best simple"
"""Not a candidate: the simple combiner that each training split would have chosen."""


@dataclass(frozen=True)
class Judged:
    """Out-of-fold scores, averaged over the repeats."""

    scores: dict[str, list[Floats]]
    """By candidate and `BEST_SIMPLE`; one array `(n,)` for each fold."""
    picks: dict[str, int]
    """How often each simple combiner was chosen."""


def judge_candidates(
    folds: Sequence[FoldColumns],
    settings: Stack,
    seed: int,
    advance: Callable[[], None] = lambda: None,
) -> Judged:
    """Every candidate on all rows: each is scored by models that its group had no part in.

    Boosted models are single fits, with another seed in each repeat; what ships is averaged over
    `stack.bags`, which does it no harm. `advance` is called after each of `repeats` times
    `inner_folds` inner folds.
    """
    names = list_fittable(folds, settings)
    once = settings.model_copy(update={"bags": 1})
    scores = {name: [np.zeros(len(c)) for c in folds] for name in (*names, BEST_SIMPLE)}
    picks = dict.fromkeys(SIMPLE, 0)
    for repeat in range(settings.repeats):
        own = seed + 1000 * repeat
        inner_folds = split_inner(folds, settings.inner_folds, own)
        for held_out in range(settings.inner_folds):
            rest = [c.take(inner != held_out) for c, inner in zip(folds, inner_folds, strict=True)]
            models, best = fit_candidates(names, rest, once, own)
            picks[best.name] += 1
            for name, model in (*models.items(), (BEST_SIMPLE, best)):
                for columns, inner, total in zip(folds, inner_folds, scores[name], strict=True):
                    out = inner == held_out
                    total[out] += model.score(columns.take(out)) / settings.repeats
            advance()
    return Judged(scores, picks)
