"""What networks say of rows, and of rows whose squares are several. Needs no torch."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from features.core.manifest import Ids

HALF_MAX = 65_504
"""float16 ends there; a larger activation would turn into infinity."""


@dataclass(frozen=True)
class ScoredRows:
    """What a network says about some rows, in their order."""

    logits: npt.NDArray[np.float32]
    """Raw log-odds of fake `(n,)`."""
    embeddings: npt.NDArray[np.float16]
    """`(n, d)`."""
    crop_logits: npt.NDArray[np.float32] | None = None
    """`(n, 2)`: where several squares of a picture are scored, the highest of their log-odds and
    their standard deviation; the others are means over the squares then."""

    def __len__(self) -> int:
        return len(self.logits)

    def take(self, positions: Ids) -> Self:
        """The rows at these positions."""
        crop_logits = None if self.crop_logits is None else self.crop_logits[positions]
        return type(self)(self.logits[positions], self.embeddings[positions], crop_logits)

    def list_arrays(self) -> list[npt.NDArray[Any]]:
        """Those that are there, in the order of the fields."""
        found = (self.logits, self.embeddings, self.crop_logits)
        return [array for array in found if array is not None]


def halve(embeddings: npt.NDArray[np.floating]) -> npt.NDArray[np.float16]:
    """As they are kept, and the second stage learns from them."""
    return np.clip(embeddings, -HALF_MAX, HALF_MAX).astype(np.float16)


def merge_squares(
    counts: Ids, log_odds: npt.NDArray[np.float32], embeddings: npt.NDArray[np.float32]
) -> ScoredRows:
    """Rows from what is said of their squares, `counts` of each, one row after the other."""
    starts, said = np.cumsum(counts) - counts, log_odds.astype(np.float64)
    if not len(counts):
        return ScoredRows(log_odds, embeddings.astype(np.float16), np.empty((0, 2), np.float32))
    means = np.add.reduceat(said, starts) / counts
    squares = np.add.reduceat((said - np.repeat(means, counts)) ** 2, starts)
    peaks = np.stack([np.maximum.reduceat(said, starts), np.sqrt(squares / counts)], axis=1)
    centres = np.add.reduceat(embeddings, starts, axis=0) / counts[:, None]
    return ScoredRows(means.astype(np.float32), halve(centres), peaks.astype(np.float32))
