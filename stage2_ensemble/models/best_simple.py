"""The simple combiner that some rows would choose, as log-odds that LightGBM can start from.

start = fit_start(folds, settings, seed)
start.best.score(columns)                        # (n,) log-odds of new rows
start.crossed[0]                                 # (n,) of the rows of fold 0, cross-fitted
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from features.core.auc import find_auc
from features.settings.stacking import Stack
from features.splits.folds import split_evenly
from stage2_ensemble.columns.columns import (
    Floats,
    FoldColumns,
    InnerFolds,
    Labels,
    Mask,
    MemberColumns,
    check_fittable,
    count_inner_folds,
)
from stage2_ensemble.decisions.calibrators import Platt
from stage2_ensemble.models.combiners import COMBINERS, BestSingle, Combiner, Mean

UNPICKED = frozenset({BestSingle.name})
"""Measured beside the others, and never chosen: where one network alone is the best, greedy
selection comes to the same, and on few rows one more to choose from costs more than it brings
(ADR 29)."""
Array = npt.NDArray[Any]
Combiners = Mapping[str, Combiner]
Fitted = Mapping[tuple[int, ...], Combiners]
"""By the inner folds that the combiners did not learn from."""


@dataclass(frozen=True)
class BestSimple:
    """The combiner with the highest out-of-fold AUC, fitted on all rows.

    Its scores times `scale` plus `offset` are log-odds at the class shares of these rows (Platt's
    scaling, on out-of-fold scores), so those of two combiners compare. The scale is above 0, on
    noise too.
    """

    combiner: Combiner
    scale: float = 1.0
    offset: float = 0.0

    @property
    def name(self) -> str:
        """Of the combiner."""
        return self.combiner.name

    def score(self, columns: MemberColumns) -> Floats:
        """`(n,)` log-odds of fake."""
        return self.scale_scores(self.combiner.score(columns.logits))

    def scale_scores(self, scores: Floats) -> Floats:
        """`(n,)` scores of the combiner as log-odds."""
        return self.scale * scores + self.offset

    def to_json(self) -> dict[str, Any]:
        """As it stands in JSON files."""
        learned = {"name": self.name, "combiner": self.combiner.to_json()}
        return {**learned, "scale": self.scale, "offset": self.offset}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        combiner = COMBINERS[values["name"]].from_json(values["combiner"])
        return cls(combiner, values["scale"], values["offset"])


@dataclass(frozen=True)
class Start:
    """Where boosting begins."""

    best: BestSimple
    """Fitted on all rows: for new ones."""
    combiners: Combiners
    """All of them, fitted on all rows."""
    crossed: Mapping[int, Floats]
    """By fold `(n,)` log-odds of the rows themselves. Those of a row are by the combiner that the
    rows of the other inner folds would choose, choice, fit and scale included: nothing in them
    knows its label, nor one of its group."""


@dataclass(frozen=True)
class _Rows:
    """Rows of all folds, one fold below the other."""

    logits: Floats
    labels: Labels
    weights: Floats
    folds: InnerFolds
    """`(n,)` which of the folds a row is of."""

    @classmethod
    def gather(cls, folds: Sequence[FoldColumns]) -> Self:
        for columns in folds:
            check_fittable(columns)
        logits, labels, weights = (
            np.concatenate([getattr(columns, name) for columns in folds])
            for name in ("logits", "labels", "weights")
        )
        places = np.repeat(np.arange(len(folds)), [len(columns) for columns in folds])
        return cls(logits, labels, weights, places.astype(np.int16))

    def take(self, mask: Mask) -> Self:
        return replace(self, **{name: values[mask] for name, values in vars(self).items()})

    def split(self, values: Array) -> list[Array]:
        """By fold."""
        return [values[self.folds == place] for place in np.unique(self.folds)]


def pick_simple(folds: Sequence[FoldColumns], settings: Stack, seed: int) -> BestSimple:
    """What all rows choose; of equal combiners the simplest, as rows too few to be cut do."""
    rows, inner_folds = _cut_rows(folds, settings, seed)
    if inner_folds is None:
        return BestSimple(Mean())
    fitted = _fit_without(rows, inner_folds, 1)
    return _choose(rows, _score_left_out(rows, inner_folds, fitted), _fit_each(rows, UNPICKED))


def fit_start(folds: Sequence[FoldColumns], settings: Stack, seed: int) -> Start:
    """`pick_simple`, and the same within the rows; takes three times as long."""
    rows, inner_folds = _cut_rows(folds, settings, seed)
    combiners = _fit_each(rows)
    if inner_folds is None:
        best = BestSimple(Mean())
        return Start(best, combiners, {columns.fold: best.score(columns) for columns in folds})
    fitted = _fit_without(rows, inner_folds, 1)
    if inner_folds.max() > 1:
        fitted |= _fit_without(rows, inner_folds, 2)
    crossed = np.empty(len(inner_folds))
    for inner in np.unique(inner_folds).tolist():
        own = inner_folds == inner
        scores = _score_left_out(rows.take(~own), inner_folds[~own], fitted, inner)
        chosen = _choose(rows.take(~own), scores, fitted[inner,])
        crossed[own] = chosen.scale_scores(chosen.combiner.score(rows.logits[own]))
    best = _choose(rows, _score_left_out(rows, inner_folds, fitted), combiners)
    by_fold = zip(folds, rows.split(crossed), strict=True)
    return Start(best, combiners, {columns.fold: values for columns, values in by_fold})


def _cut_rows(
    folds: Sequence[FoldColumns], settings: Stack, seed: int
) -> tuple[_Rows, InnerFolds | None]:
    """The rows and the inner fold `(n,)` of each; `None` where they are too few to be cut.

    Few groups that hold both classes may come into one inner fold: then there are fewer of them.
    """
    rows = _Rows.gather(folds)
    for count in range(count_inner_folds(folds, settings.inner_folds), 1, -1):
        inner_folds = np.concatenate(split_inner(folds, count, seed))
        if _is_fittable_without(rows, inner_folds):
            return rows, inner_folds
    return rows, None


def _is_fittable_without(rows: _Rows, inner_folds: InnerFolds) -> bool:
    """Both classes are left without any two inner folds, and in each fold without any one.

    Combiners are fitted on the former, chosen on the latter; without both of two nothing is left.
    """
    count = int(inner_folds.max()) + 1
    held = np.zeros((int(rows.folds.max()) + 1, count, 2), np.int64)
    np.add.at(held, (rows.folds, inner_folds, rows.labels), 1)
    left = held.sum(axis=1, keepdims=True) - held
    pooled = held.sum(axis=0)
    pairs = [pooled.sum(axis=0) - pooled[i] - pooled[j] for i, j in combinations(range(count), 2)]
    return bool((left > 0).all() and (count == 2 or np.all(pairs)))


def _fit_without(
    rows: _Rows, inner_folds: InnerFolds, size: int
) -> dict[tuple[int, ...], Combiners]:
    """Those that may be chosen, by all rows but those of every `size` inner folds."""
    every = combinations(range(int(inner_folds.max()) + 1), size)
    return {left: _fit_each(rows.take(~np.isin(inner_folds, left)), UNPICKED) for left in every}


def _fit_each(rows: _Rows, but: Collection[str] = ()) -> dict[str, Combiner]:
    """The simple combiners, by name."""
    learned = (rows.logits, rows.labels, rows.weights)
    kinds = {name: kind for name, kind in COMBINERS.items() if name not in but}
    return {name: kind().fit(*learned) for name, kind in kinds.items()}


def _score_left_out(
    rows: _Rows,
    inner_folds: InnerFolds,
    fitted: Fitted,
    *without: int,
) -> dict[str, Floats]:
    """`(n,)` scores of each combiner, by those that learned neither from the row nor `without`.

    Where there are none, those of the mean, which learns nothing.
    """
    scores: dict[str, Floats] = {}
    for inner in np.unique(inner_folds).tolist():
        combiners = fitted.get(tuple(sorted((inner, *without))))
        if combiners is None:
            return {Mean.name: Mean().score(rows.logits)}
        own = inner_folds == inner
        for name, combiner in combiners.items():
            scores.setdefault(name, np.empty(len(inner_folds)))[own] = combiner.score(
                rows.logits[own]
            )
    return scores


def _choose(rows: _Rows, scores: Mapping[str, Floats], fitted: Combiners) -> BestSimple:
    """That of `fitted` whose out-of-fold `scores` have the highest AUC, the mean over folds."""
    labels = rows.split(rows.labels)
    aucs = {
        name: np.mean(list(map(find_auc, labels, rows.split(values))))
        for name, values in scores.items()
    }
    name = max(aucs, key=lambda name: float(aucs[name]))
    line = Platt().fit(scores[name], rows.labels, rows.weights)
    return BestSimple(fitted[name], line.slope_, line.intercept_)


def split_inner(folds: Sequence[FoldColumns], count: int, seed: int) -> list[InnerFolds]:
    """For each fold `(n,)` inner folds of its rows, by group."""
    for columns in folds:
        check_fittable(columns)
    return [split_evenly(c.labels, c.groups, count, seed + c.fold) for c in folds]
