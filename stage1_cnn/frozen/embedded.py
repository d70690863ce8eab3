"""Embeddings of a frozen encoder on the disk: of each row, or of each square of a picture.

embedded.average(row_ids)                   # (k, d), what a head is fitted on
embedded.score(row_ids, Head(weight, bias))  # as a network with that head scores them
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from features.core.manifest import Ids
from features.crops.crop_store import GridStore
from features.crops.places import Corners
from features.pixels.store import ImageStore
from stage1_cnn.scoring.merging import ScoredRows, halve, merge_squares

BLOCK = 4096
"""Rows that are looked at together: all of them may not fit into memory."""
Singles = npt.NDArray[np.float32]


class Head(NamedTuple):
    """A linear map of embeddings `(n, d)` to log-odds of fake."""

    weight: Singles
    """`(d,)`."""
    bias: float

    def score(self, embeddings: Singles) -> Singles:
        """`(n,)`. Sums are taken in float64, so their order shows in no bit that is kept."""
        sums = embeddings.astype(np.float64) @ self.weight.astype(np.float64)
        return (sums + self.bias).astype(np.float32)


class Squares(NamedTuple):
    """What is shown of some rows, those squares of a row one after the other."""

    row_ids: Ids
    """`(n,)`, increasing."""
    shown: Ids
    """`(m,)`: the row of each square."""
    corners: Corners | None
    """`(m, 2)`; `None` where each row is one square."""
    counts: Ids | None
    """`(n,)`: squares of each row; `None` likewise."""


def list_all_squares(store: ImageStore, row_ids: Ids) -> Squares:
    """All that is scored of these rows of `store`."""
    if not isinstance(store, GridStore):
        return Squares(row_ids, row_ids, None, None)
    grid = store.list_squares(row_ids)
    return Squares(row_ids, grid.row_ids, grid.corners, grid.counts)


@dataclass(frozen=True)
class Embedded:
    """The embeddings `(m, d)` of all `squares`, mapped from the disk."""

    squares: Squares
    embeddings: Singles

    @property
    def width(self) -> int:
        """Length d of an embedding."""
        return self.embeddings.shape[1]

    def average(self, row_ids: Ids) -> Singles:
        """`(k, d)`: of each row the mean over its squares."""
        found = np.empty((len(row_ids), self.width), np.float32)
        for start in range(0, len(row_ids), BLOCK):
            part, counts = self._take(row_ids[start : start + BLOCK])
            if counts is not None:
                sums = np.add.reduceat(part, np.cumsum(counts) - counts, axis=0)
                part = (sums / counts[:, None]).astype(np.float32)
            found[start : start + BLOCK] = part
        return found

    def score(self, row_ids: Ids, head: Head) -> Iterator[ScoredRows]:
        """What `head` says of these rows, in blocks, with their embeddings; as a dump keeps it."""
        for start in range(0, len(row_ids), BLOCK):
            part, counts = self._take(row_ids[start : start + BLOCK])
            log_odds = head.score(part)
            if counts is not None:
                yield merge_squares(counts, log_odds, part)
            else:
                yield ScoredRows(log_odds, halve(part))

    def _take(self, row_ids: Ids) -> tuple[Singles, Ids | None]:
        """The embeddings of these rows' squares, and how many each row has."""
        places = np.searchsorted(self.squares.row_ids, row_ids)
        if self.squares.counts is None:
            return self.embeddings[places], None
        counts = self.squares.counts[places]
        starts = (np.cumsum(self.squares.counts) - self.squares.counts)[places]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return self.embeddings[np.repeat(starts, counts) + within], counts
