"""What heads that know a domain say of it, and of everything else, beside heads that do not.

gains = compare_heads(train, is_new, scores)
gains["new"].difference.describe_difference()      # +0.2100 [+0.1203, +0.2992]
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from features.core.auc import AucEstimate, Floats, compare_aucs, measure_auc
from features.core.manifest import Manifest, count_classes

Mask = npt.NDArray[np.bool_]


class DomainGain(NamedTuple):
    """One AUC before and after, on rows that neither head knows."""

    reals: int
    fakes: int
    before: AucEstimate
    after: AucEstimate
    difference: AucEstimate


def compare_heads(
    train: Manifest, judged: npt.NDArray[np.int64], is_new: Mask, before: Floats, after: Floats
) -> Mapping[str, DomainGain]:
    """`new`: on the domain, with the others' rows of a class that it lacks; `old`: on the others.

    `judged` `(n,)` are row ids, `is_new` `(n,)` whether they are of the domain, `before` and
    `after` `(n,)` log-odds of heads that know none, and all, of it but the row's own fold.
    """
    labels = train.labels[judged]
    lacking = [label for label in (0, 1) if not (is_new & (labels == label)).any()]
    beside = is_new | np.isin(labels, lacking)
    return {
        "new": _measure_gain(train, judged[beside], before[beside], after[beside]),
        "old": _measure_gain(train, judged[~is_new], before[~is_new], after[~is_new]),
    }


def tell_gain(gain: DomainGain) -> str:
    """`better`, `worse`, or that the interval does not tell."""
    low, high = gain.difference.low, gain.difference.high
    if low is None or high is None:
        return "too few to tell"
    return "better" if low > 0 else "worse" if high < 0 else "not told apart"


def _measure_gain(
    train: Manifest, rows: npt.NDArray[np.int64], before: Floats, after: Floats
) -> DomainGain:
    labels, groups = train.labels[rows], train.groups[rows]
    return DomainGain(
        *count_classes(labels),
        before=measure_auc(labels, before, groups),
        after=measure_auc(labels, after, groups),
        difference=compare_aucs(labels, groups, after, before),
    )
