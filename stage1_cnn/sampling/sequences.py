"""Endless sequences of draws: passes over the rows of a class, and both classes mixed.

Each is a pure function of its key: any part of it can be had.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol

import numpy as np
import numpy.typing as npt

from features.core.manifest import Ids

Ints = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float64]

CHUNK = 65_536
"""Rows worked on at once: they stay in the L2 cache, and calls cost next to nothing."""


class Draws(Protocol):
    """An endless sequence of drawn rows, of which any part can be had."""

    def take(self, start: int, stop: int) -> Ids:
        """Draws `start` … `stop - 1` as positions in the candidates, `(stop - start,)`."""
        ...


class Passes(ABC):
    """Draws that come in passes of `size`, each pass in an order of its own.

    Holds the order of the last pass: going on is cheap, going back makes it again. All passes share
    one buffer (400 MB at 1e8 rows), so this is not for several threads at once.
    """

    def __init__(self, size: int, dtype: np.dtype, key: Sequence[int]) -> None:
        """`key` with the number of a pass seeds its order."""
        self.size, self._key = size, key
        self._order = np.empty(size, dtype)
        self._held = -1

    def take(self, start: int, stop: int) -> Ids:
        """See `Draws`."""
        rows = np.empty(stop - start, np.int64)
        done = 0
        while done < len(rows):
            number, offset = divmod(start + done, self.size)
            part = self._find_order(number)[offset : offset + len(rows) - done]
            rows[done : done + len(part)] = part
            done += len(part)
        return rows

    def _find_order(self, number: int) -> Ints:
        if number != self._held:
            # Interrupted half-way, the buffer must not count as the order that it held.
            self._held = -1
            self._fill(self._order, np.random.default_rng([*self._key, number]), number)
            self._held = number
        return self._order

    @abstractmethod
    def _fill(self, order: Ints, rng: np.random.Generator, number: int) -> None:
        """Writes pass `number` into `order` `(size,)`."""


class Permutations(Passes):
    """All `rows`, permuted afresh on every pass: none repeats before all of them are drawn."""

    def __init__(self, rows: Ints, key: Sequence[int]) -> None:
        super().__init__(len(rows), rows.dtype, key)
        self._rows = rows

    def _fill(self, order: Ints, rng: np.random.Generator, number: int) -> None:
        order[:] = self._rows
        rng.shuffle(order)


class SystematicDraws(Passes):
    """Passes of `size` draws in proportion to `weights` `(m,)`.

    Systematic sampling (Madow, "On the theory of systematic sampling, II", 1949): the rows lie on
    a line in random order, each as long as its expected count, and one random offset plus every
    whole number is a draw. So a row comes as often as expected, rounded down or up.
    """

    def __init__(self, weights: Floats, size: int, key: Sequence[int]) -> None:
        super().__init__(size, choose_type(len(weights)), key)
        self._weights = weights
        self._scale = size / float(weights.sum())

    def _fill(self, order: Ints, rng: np.random.Generator, number: int) -> None:
        rows = np.arange(len(self._weights), dtype=order.dtype)
        rng.shuffle(rows)
        # On a grid that keeps 1e-5 away from whole numbers: rows of whole expected counts end on
        # those, up to rounding (1e-7 at 1e8 rows), and must not lose or gain a draw by it.
        offset = (rng.integers(2**15) + 0.5) / 2**15
        begin, drawn = 0.0, 0
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            ends = begin + self._stretch(self._weights[part])
            counts = np.diff(np.ceil(ends - offset), prepend=np.ceil(begin - offset))
            repeated = np.repeat(part, counts.astype(np.int64))
            order[drawn : drawn + len(repeated)] = repeated
            drawn += len(repeated)
            # Without the whole number, of which 1e8 would leave float64 eight digits.
            begin = ends[-1] % 1.0
        rng.shuffle(order)

    def _stretch(self, weights: Floats) -> Floats:
        """Where rows of these weights end on the line; rounding does not add up over chunks."""
        sums = np.cumsum(weights)
        # `sum` adds in pairs, and is 1,000 times as exact as the running total of 65,536 rows.
        return sums * (self._scale * weights.sum() / sums[-1])


class Mixture:
    """Reals and fakes in an exact ratio, spread evenly (Bresenham's line).

    Draw j is real where floor((j + 1) * share) > floor(j * share). So each batch, and each part of
    one that a rank or an accumulation step takes, has the ratio to within one row.
    """

    def __init__(self, reals: Draws, fakes: Draws, share: Fraction) -> None:
        """`share`: reals among all draws."""
        self._reals, self._fakes, self._share = reals, fakes, share

    def take(self, start: int, stop: int) -> Ids:
        """See `Draws`."""
        first, reals = count_reals(self._share, start, 1, stop - start + 1)
        is_real, last = np.diff(reals) > 0, first + int(reals[-1])
        rows = np.empty(stop - start, np.int64)
        rows[is_real] = self._reals.take(first, last)
        rows[~is_real] = self._fakes.take(start - first, stop - last)
        return rows


def count_reals(share: Fraction, start: int, stride: int, length: int) -> tuple[int, Ints]:
    """Reals among the first `start` draws of a `Mixture` of this share, and how many more there are
    `0, stride, 2 stride, …` draws on, `(length,)`.
    """
    # The start is taken off in Python's whole numbers, which do not overflow.
    before, rest = divmod(start * share.numerator, share.denominator)
    return before, (rest + np.arange(length) * (stride * share.numerator)) // share.denominator


def choose_type(rows: int) -> np.dtype:
    """Type of row numbers: half the memory where they fit."""
    return np.dtype(np.int32 if rows < 2**31 else np.int64)
