"""What heads that know a domain say of it, and of everything else, beside heads that do not.

gains = compare_heads(train, is_new, judged, before, after)
gains["new"].difference.describe_difference()      # +0.2100 [+0.1203, +0.2992]
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from features.core.auc import AucEstimate, Floats, Mask, compare_aucs, measure_auc
from features.core.manifest import Ids, Manifest, count_classes
from features.core.number_text import IntervalSide, find_side

WORDS: dict[IntervalSide, str] = {
    "above": "better",
    "below": "worse",
    "around": "not told apart",
    "unknown": "too few to tell",
}


class DomainGain(NamedTuple):
    """One AUC before and after, on rows that neither head knows."""

    reals: int
    fakes: int
    before: AucEstimate
    after: AucEstimate
    difference: AucEstimate


def compare_heads(
    train: Manifest, is_new: Mask, judged: Ids, before: Floats, after: Floats
) -> Mapping[str, DomainGain]:
    """`new`: on the domain, with the others' rows of a class that it lacks; `old`: on the others.

    `is_new` says of all rows of train whether they are of the domain; `judged` `(n,)` are row ids,
    `before` and `after` `(n,)` log-odds of heads that know none, and all, of it but the row's own
    fold.
    """
    labels, inside = train.labels[judged], is_new[judged]
    lacking = np.setdiff1d([0, 1], train.labels[is_new])
    beside = inside | np.isin(labels, lacking)
    return {
        "new": _measure_gain(train, judged[beside], before[beside], after[beside]),
        "old": _measure_gain(train, judged[~inside], before[~inside], after[~inside]),
    }


def tell_gain(gain: DomainGain) -> str:
    """`better`, `worse`, or that the interval does not tell."""
    return WORDS[find_side(gain.difference.low, gain.difference.high)]


def _measure_gain(train: Manifest, rows: Ids, before: Floats, after: Floats) -> DomainGain:
    labels, groups = train.labels[rows], train.groups[rows]
    return DomainGain(
        *count_classes(labels),
        before=measure_auc(labels, before, groups),
        after=measure_auc(labels, after, groups),
        difference=compare_aucs(labels, groups, after, before),
    )
