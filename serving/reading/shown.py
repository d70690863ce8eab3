"""Rows as networks are shown them: squares of pictures, of frames and of faces, side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from features.core.manifest import Ids
from features.pixels.decoding import Pixels
from serving.format.facts import Sight
from serving.reading.canvases import Canvases


@dataclass(frozen=True)
class RowSquares:
    """What `n` rows are to members of one sight."""

    pixels: Pixels
    """`(m, s, s, 3)`."""
    places: Ids
    """`(t,)`: which of them the rows consist of, one row after the other."""
    counts: Ids
    """`(n,)`: squares of each row."""

    def take(self, positions: Ids) -> Self:
        """Rows at these positions, with no more pixels than they need."""
        starts = np.cumsum(self.counts) - self.counts
        pairs = zip(starts[positions], self.counts[positions], strict=True)
        kept = [self.places[start : start + count] for start, count in pairs]
        used, places = np.unique(np.concatenate(kept), return_inverse=True)
        return type(self)(self.pixels[used], places, self.counts[positions])


@dataclass(frozen=True)
class ShownRows:
    """`n` rows, by what members see of them."""

    count: int
    by_sight: Mapping[Sight, RowSquares]
    """Empty where there are no rows."""

    def __len__(self) -> int:
        return self.count

    @property
    def nbytes(self) -> int:
        """Of their pixels."""
        return sum(squares.pixels.nbytes for squares in self.by_sight.values())

    def take(self, positions: Ids) -> Self:
        """Rows at these positions, at least one."""
        squares = {sight: own.take(positions) for sight, own in self.by_sight.items()}
        return type(self)(len(positions), squares)


NO_ROWS = ShownRows(0, {})


def show_row(canvases: Canvases) -> ShownRows:
    """One row."""
    squares = {}
    for sight, canvas in canvases.items():
        pixels = canvas.cut()
        squares[sight] = RowSquares(pixels, np.arange(len(pixels)), np.array([len(pixels)]))
    return ShownRows(1, squares)


def join_rows(parts: Sequence[ShownRows]) -> ShownRows:
    """The rows of all, one after the other."""
    parts = [part for part in parts if len(part)]
    if len(parts) < 2:
        return parts[0] if parts else NO_ROWS
    sights = parts[0].by_sight
    squares = {sight: _join_squares([part.by_sight[sight] for part in parts]) for sight in sights}
    return ShownRows(sum(map(len, parts)), squares)


def _join_squares(parts: Sequence[RowSquares]) -> RowSquares:
    starts = np.cumsum([0, *(len(part.pixels) for part in parts[:-1])])
    places = [part.places + start for part, start in zip(parts, starts, strict=True)]
    return RowSquares(
        np.concatenate([part.pixels for part in parts]),
        np.concatenate(places),
        np.concatenate([part.counts for part in parts]),
    )
