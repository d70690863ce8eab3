"""How every candidate does on rows that it was not fitted on, by repeated group-aware CV.

A fitted model has seen its rows' labels, so choices and thresholds use these scores instead. All
that a candidate does with labels happens inside each training split, on inner folds of that split.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from features.artifacts.perturbed import CLEAN
from features.settings.stacking import Stack
from stage2_ensemble.columns.columns import Floats, FoldColumns, MemberColumns
from stage2_ensemble.columns.tiers import TierColumns
from stage2_ensemble.models.best_simple import UNPICKED, split_inner
from stage2_ensemble.models.candidates import SIMPLE, fit_candidates, list_fittable

BEST_SIMPLE = "best simple"
"""Not a candidate: the simple combiner that each training split would have chosen."""


Scores = dict[str, list[Floats]]
"""By candidate and `BEST_SIMPLE`; one array `(n,)` for each fold."""


@dataclass(frozen=True)
class Judged:
    """Out-of-fold scores, averaged over the repeats."""

    scores: Scores
    picks: dict[str, int]
    """How often each simple combiner was chosen."""
    tiers: dict[str, Scores] = field(default_factory=dict)
    """By tier, of the rows that were scored under it."""


def judge_candidates(
    folds: Sequence[FoldColumns],
    settings: Stack,
    seed: int,
    advance: Callable[[], None] = lambda: None,
    tiers: Sequence[Mapping[str, TierColumns]] = (),
) -> Judged:
    """Every candidate on all rows: each is scored by models that its group had no part in.

    Boosted models are single fits, with another seed in each repeat; what ships is averaged over
    `stack.bags`, which does it no harm. `advance` is called after each of `repeats` times
    `inner_folds` inner folds. `tiers`: of each fold some of its rows under tiers, which the same
    models score as the rows themselves.
    """
    names = list_fittable(folds, settings)
    once = settings.model_copy(update={"bags": 1})
    shown: list[Mapping[str, MemberColumns]] = [{CLEAN: columns} for columns in folds]
    if tiers:
        shown = [{**own, **others} for own, others in zip(shown, tiers, strict=True)]
    scores: dict[str, Scores] = {
        tier: {name: [np.zeros(len(own[tier])) for own in shown] for name in (*names, BEST_SIMPLE)}
        for tier in shown[0]
    }
    picks = dict.fromkeys((name for name in SIMPLE if name not in UNPICKED), 0)
    for repeat in range(settings.repeats):
        cut_seed = seed + 1000 * repeat
        inner_folds = split_inner(folds, settings.inner_folds, cut_seed)
        for held_out in range(settings.inner_folds):
            rest = [c.take(inner != held_out) for c, inner in zip(folds, inner_folds, strict=True)]
            models, best = fit_candidates(names, rest, once, cut_seed)
            picks[best.name] += 1
            left_out = [c.row_ids[i == held_out] for c, i in zip(folds, inner_folds, strict=True)]
            for name, model in (*models.items(), (BEST_SIMPLE, best)):
                for place, ids in enumerate(left_out):
                    for tier, columns in shown[place].items():
                        out = np.isin(columns.row_ids, ids)
                        found = model.score(columns.take(out)) / settings.repeats
                        scores[tier][name][place][out] += found
            advance()
    clean = scores.pop(CLEAN)
    return Judged(clean, picks, scores)
