"""Units (videos, persons) in place of rows.

A unit's score is pooled from its rows' log-odds, before calibration: their mean, or that of the few
highest, for videos of which a part is forged.

A unit whose rows are of both classes, such as a person with real and fake pictures, has no label:
it is left out wherever labels count.
"""

from dataclasses import dataclass

import numpy as np

from features.core.manifest import Ids, Manifest, count_classes
from stage2_ensemble.columns.columns import Floats, Labels
from stage2_ensemble.decisions.scored_rows import ChoiceRows, RowScores

MIXED = -1
"""Label of a unit with rows of both classes."""


@dataclass(frozen=True)
class Units:
    """Which unit each of `n` rows is of; `u` units in the order of their first rows."""

    numbers: Ids
    """`(n,)` 0 … u-1."""
    first: Ids
    """`(u,)` positions of first rows."""
    counts: Ids
    """`(u,)` rows."""

    def average(self, values: Floats) -> Floats:
        """`(u,)` means of `(n,)` values."""
        return np.asarray(np.bincount(self.numbers, values, len(self.counts)) / self.counts)

    def find_labels(self, labels: Labels) -> Labels:
        """`(u,)` the label of all rows of a unit, or `MIXED`."""
        fakes = np.bincount(self.numbers, labels == 1, len(self.counts))
        found = np.where(fakes == 0, 0, np.where(fakes == self.counts, 1, MIXED))
        return found.astype(np.int8)


@dataclass(frozen=True)
class Pooling:
    """How log-odds of a unit's rows become one."""

    top: int | None = None
    """The mean of so many highest ones; `None`: of all."""

    @property
    def name(self) -> str:
        """`mean`, or `top_3`."""
        return "mean" if self.top is None else f"top_{self.top}"

    def pool(self, units: Units, log_odds: Floats) -> Floats:
        """`(u,)` of `(n,)` rows. NaN, of rows without a score, are left out; NaN where all are."""
        known = ~np.isnan(log_odds)
        numbers, values = units.numbers[known], log_odds[known]
        if self.top is not None:
            order = np.lexsort((-values, numbers))
            numbers, values = numbers[order], values[order]
            ranks = np.arange(len(numbers)) - np.searchsorted(numbers, numbers)
            numbers, values = numbers[ranks < self.top], values[ranks < self.top]
        counts = np.bincount(numbers, minlength=len(units.counts))
        pooled = np.full(len(counts), np.nan)
        sums = np.bincount(numbers, values, len(counts))
        np.divide(sums, counts, out=pooled, where=counts > 0)
        return pooled


@dataclass(frozen=True)
class TrainUnits:
    """What `stack` knows of the units of train."""

    numbers: Ids
    """`(n,)` by `row_id`."""
    share: float
    """Of fakes, among units of one class."""
    mixed: int
    """Units of both classes."""


def number_units(units: Ids) -> Units:
    """`units` are `(n,)` numbers of any kind."""
    _, first, numbers, counts = np.unique(
        units, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(first)
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    return Units(places[numbers], first[order], counts[order])


def describe_train(train: Manifest) -> TrainUnits | None:
    """The units of train; `None` where it has none, or no units of one class of both kinds."""
    if not train.has_units:
        return None
    labels = number_units(train.units).find_labels(train.labels)
    reals, fakes = count_classes(labels)
    if not reals or not fakes:
        return None
    return TrainUnits(train.units, fakes / (reals + fakes), int((labels == MIXED).sum()))


def merge_rows(rows: RowScores, units: Ids, pooling: Pooling) -> RowScores:
    """A row for each unit: its pooled log-odds, with id and group of its first row."""
    found = number_units(units)
    return RowScores(
        row_ids=rows.row_ids[found.first],
        log_odds=pooling.pool(found, rows.log_odds),
        groups=rows.groups[found.first],
    )


def merge_choice_rows(rows: ChoiceRows, units: TrainUnits, pooling: Pooling) -> ChoiceRows | None:
    """A row for each unit of one class, with its rows' mean weight; `None` unless of both classes.

    Weighted to the share of fakes among units of train.
    """
    found = number_units(units.numbers[rows.row_ids])
    labels = found.find_labels(rows.labels)
    kept = labels != MIXED
    if 0 in count_classes(labels):
        return None
    merged = ChoiceRows(
        row_ids=rows.row_ids[found.first][kept],
        log_odds=pooling.pool(found, rows.log_odds)[kept],
        groups=rows.groups[found.first][kept],
        labels=labels[kept],
        weights=found.average(rows.weights)[kept],
    )
    return merged.at_prior(units.share)
