"""What was drawn: the ratio of the classes, how many images were seen, and how often."""

import math

import numpy as np
import numpy.typing as npt

from features.core.manifest import Ids
from stage1_cnn.scoring.processes import slice_for_rank

CLASSES = ("real", "fake")


class DrawCounter:
    """Counts the draws of each row, batch by batch; each batch costs O(batch), whatever the rows.

    Args:
        labels: `(m,)`, 1 = fake, 0 = real, of the rows that may be drawn.
        world: ranks that each batch is shared out to.
        groups: `(m,)`; then pairs are counted, too.
    """

    def __init__(
        self,
        labels: npt.NDArray[np.integer],
        world: int = 1,
        groups: npt.NDArray[np.integer] | None = None,
    ) -> None:
        self._labels, self._world, self._groups = labels, world, groups
        self._counts = np.zeros(len(labels), np.int32)
        # Of reals and fakes, over all epochs.
        self._draws, self._seen, self._most = (np.zeros(2, np.int64) for _ in range(3))
        self._paired = 0  # in this epoch
        # Of each rank, in this epoch.
        self._drawn, self._drawn_real = (np.zeros(world, np.int64) for _ in range(2))

    def count(self, positions: Ids) -> None:
        """Adds a global batch: `(batch,)` positions in `labels`, as the sampler gives them."""
        is_real = self._labels[positions] == 0
        for rank in range(self._world):
            part = slice_for_rank(is_real, rank, self._world)
            self._drawn[rank] += len(part)
            self._drawn_real[rank] += np.count_nonzero(part)
        if self._groups is not None:
            groups = self._groups[positions]
            paired = np.isin(groups, np.intersect1d(groups[is_real], groups[~is_real]))
            self._paired += int(paired.sum())
        rows, times = np.unique(positions, return_counts=True)
        before, labels = self._counts[rows], self._labels[rows]
        now = before + times
        self._counts[rows] = now
        self._draws += np.bincount(labels, times, 2).astype(np.int64)
        self._seen += np.bincount(labels[before == 0], minlength=2)
        np.maximum.at(self._most, labels, now)

    def summarise(self) -> dict[str, float]:
        """Figures at the end of an epoch; begins the next one.

        Of the epoch: `real_share` of its draws, and with several ranks `real_share_rank0`, …; with
        groups `paired_share`: draws whose batch holds one of the other class and the same group.
        Of all epochs: `seen_real` and `seen_fake`, distinct images; `repeats_<class>_mean` and
        `_max`, draws of an image that was seen. A share of no draws is NaN, repeats of none are 0.
        """
        figures = {"real_share": _divide(self._drawn_real.sum(), self._drawn.sum())}
        if self._world > 1:
            pairs = zip(self._drawn_real, self._drawn, strict=True)
            figures |= {f"real_share_rank{r}": _divide(*pair) for r, pair in enumerate(pairs)}
        if self._groups is not None:
            figures["paired_share"] = _divide(np.int64(self._paired), self._drawn.sum())
        for c, name in enumerate(CLASSES):
            figures[f"seen_{name}"] = float(self._seen[c])
            figures[f"repeats_{name}_mean"] = float(self._draws[c] / max(self._seen[c], 1))
            figures[f"repeats_{name}_max"] = float(self._most[c])
        self._drawn[:] = self._drawn_real[:] = self._paired = 0
        return figures


def _divide(part: np.integer, whole: np.integer) -> float:
    return float(part / whole) if whole else math.nan
