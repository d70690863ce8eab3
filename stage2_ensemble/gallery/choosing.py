"""Which rows of val are worth a look: mistakes, disagreement, close calls, and some by chance.

choose_shown(rows, 96)   # {311: "drawn by chance", …, 17: "real called fake", …}
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.core.manifest import Ids
from stage2_ensemble.columns.columns import Floats, Labels, Mask

BY_CHANCE = "drawn by chance"
FALSE_POSITIVE = "real called fake"
FALSE_NEGATIVE = "fake called real"
DISAGREEMENT = "networks disagree"
NEAR_THRESHOLD = "close to the threshold"
SAME_PICTURE = "same picture elsewhere"
WORST = "worst of its generator"
SHARES = {
    BY_CHANCE: 0.25,
    FALSE_POSITIVE: 0.2,
    FALSE_NEGATIVE: 0.2,
    DISAGREEMENT: 0.1,
    NEAR_THRESHOLD: 0.1,
    SAME_PICTURE: 0.05,
    WORST: 0.1,
}
"""Of the rows shown, in this order; what a reason cannot fill goes to chance.

Those drawn by chance come first, from all of val, so that what a person finds among them (wrong
labels, say) is an estimate for all of val.
"""


@dataclass(frozen=True, kw_only=True)
class ValScores:
    """All `n` rows of val, in the order of `row_id`."""

    labels: Labels
    log_odds: Floats
    """Of what ships, calibrated."""
    threshold: float
    disagreement: Floats
    """Standard deviation of the backbones' log-odds."""
    generators: npt.NDArray[np.object_]
    has_pair: Mask
    """The same picture stands in another row."""

    def __len__(self) -> int:
        return len(self.labels)


def choose_shown(rows: ValScores, count: int, seed: int = 0) -> dict[int, str]:
    """At most `count` positions and why each was chosen, in the order of choice."""
    count = min(count, len(rows))
    chosen: dict[int, str] = {}
    by_chance = np.random.default_rng(seed).permutation(len(rows))
    orders = {BY_CHANCE: by_chance, **_order(rows)}
    for reason, share in SHARES.items():
        _take(chosen, orders[reason], reason, min(count, len(chosen) + round(share * count)))
    _take(chosen, by_chance, BY_CHANCE, count)
    return chosen


def _take(chosen: dict[int, str], order: Iterable[int], reason: str, until: int) -> None:
    """The first of `order` that are not chosen yet, until there are so many in all."""
    for row in order:
        if len(chosen) >= until:
            return
        chosen.setdefault(int(row), reason)


def _order(rows: ValScores) -> dict[str, Iterable[int]]:
    """By reason the positions that have it, the worst first."""
    margins = rows.log_odds - rows.threshold
    is_fake, called_fake = rows.labels == 1, margins >= 0
    return {
        FALSE_POSITIVE: _sort(-margins, ~is_fake & called_fake),
        FALSE_NEGATIVE: _sort(margins, is_fake & ~called_fake),
        DISAGREEMENT: _sort(-rows.disagreement, rows.disagreement > 0),
        NEAR_THRESHOLD: _sort(np.abs(margins), np.ones(len(rows), bool)),
        SAME_PICTURE: _sort(-np.abs(margins), rows.has_pair),
        WORST: _alternate(rows, np.where(is_fake, margins, -margins)),
    }


def _sort(keys: Floats, mask: Mask) -> Ids:
    """Positions of `mask`, smallest key first."""
    inside = np.flatnonzero(mask)
    order: Ids = inside[np.argsort(keys[inside], kind="stable")]
    return order


def _alternate(rows: ValScores, goodness: Floats) -> Iterator[int]:
    """The worst row of each generator, then the second worst of each, and so on."""
    names = rows.generators
    orders = [_sort(goodness, names == name) for name in sorted({*names} - {""})]
    for place in range(max(map(len, orders), default=0)):
        yield from (order[place] for order in orders if place < len(order))
