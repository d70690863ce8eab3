"""What is lost without one backbone, on rows that no side of the comparison was fitted on.

All columns of the backbone are taken away, and what ships is fitted anew: the same kind of LightGBM
model, or the best simple combiner, chosen anew. Both sides are judged by the same cross-validation,
cut once (`stack.repeats` do not count: it would cost as much for each backbone as the choice
itself). The model that would ship in its place is kept, so that val can tell as well: one of one
kind for each backbone, which is less than the candidates weigh. Nothing is chosen by any of it.

A LightGBM model ships because it did well on these very rows, so its losses may look a little
larger than they are; the simple combiner is chosen within each split.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from features.core.auc import AucEstimate
from features.errors import ConfigError
from features.runtime.progress import show_progress
from features.settings.stacking import Stack
from stage2_ensemble.columns.columns import Floats, FoldColumns
from stage2_ensemble.gate.differences import (
    count_least_groups,
    draw_differences,
    subtract_aucs,
)
from stage2_ensemble.gate.out_of_fold import BEST_SIMPLE, judge_candidates
from stage2_ensemble.measures.resampling import find_percentiles
from stage2_ensemble.models.best_simple import pick_simple
from stage2_ensemble.models.candidates import GATED, Model, fit_candidate, list_fittable


@dataclass(frozen=True)
class Without:
    """One backbone less. Differences of AUC are without it minus with it: below 0 is a loss."""

    name: str
    """The candidate in place of what ships."""
    model: Model
    """Fitted on all fold rows, on columns without the backbone."""
    shipped: AucEstimate
    """Difference of what ships, out of fold."""
    simple: AucEstimate
    """Difference of the best simple combiner, out of fold."""

    def to_json(self) -> dict[str, Any]:
        """All but the model."""
        differences = {"shipped": self.shipped.to_metrics(), "simple": self.simple.to_metrics()}
        return {"name": self.name, **differences}


def leave_backbones_out(
    folds: Sequence[FoldColumns], shipped: str, settings: Stack, seed: int
) -> dict[str, Without]:
    """By backbone; of one alone nothing would be left.

    Where `stack.columns` leaves a LightGBM model no column without a backbone, or `lightgbm_pca` no
    embeddings of its own, the best simple combiner takes its place.
    """
    backbones = folds[0].backbones
    if len(backbones) < 2:
        return {}
    kind = shipped if shipped in GATED else BEST_SIMPLE
    parts = (1 + len(backbones)) * settings.inner_folds
    found = {}
    with show_progress("without a backbone", parts, "parts of the rows") as meter:
        judge = partial(_judge, settings=settings, seed=seed, advance=meter.advance)
        whole = judge(folds, kind)
        for backbone in backbones:
            rest = [columns.without(backbone) for columns in folds]
            left = kind if kind in list_fittable(rest, settings) else BEST_SIMPLE
            try:
                scores = judge(rest, left)
            except ConfigError:
                left, scores = BEST_SIMPLE, judge(rest, BEST_SIMPLE)
            name = pick_simple(rest, settings, seed).name if left == BEST_SIMPLE else left
            found[backbone] = Without(
                name,
                fit_candidate(name, rest, settings, seed),
                shipped=compare_without(folds, scores[left], whole[kind], seed),
                simple=compare_without(folds, scores[BEST_SIMPLE], whole[BEST_SIMPLE], seed),
            )
    return found


def _judge(
    folds: Sequence[FoldColumns],
    kind: str,
    settings: Stack,
    seed: int,
    advance: Callable[[], None],
) -> dict[str, list[Floats]]:
    """Out-of-fold scores of the best simple combiner and of this kind."""
    candidates = () if kind == BEST_SIMPLE else (kind,)
    if not candidates:  # embeddings and the like are not looked at, and are large
        folds = [replace(columns, embeddings=(), extras=None) for columns in folds]
    once = settings.model_copy(update={"repeats": 1, "candidates": candidates})
    return judge_candidates(folds, once, seed, advance).scores


def compare_without(
    folds: Sequence[FoldColumns], first: Sequence[Floats], second: Sequence[Floats], seed: int
) -> AucEstimate:
    """AUC of the `first` minus that of the `second`, with a 95 % interval by group.

    The mean over the folds, resampled as at the gate.
    """
    difference = subtract_aucs(folds, first, second)
    least = count_least_groups(folds)
    if least < 2:
        return AucEstimate(difference)
    drawn = draw_differences(folds, first, second, seed)
    return AucEstimate(difference, *find_percentiles(drawn[~np.isnan(drawn)], least))
