"""Which rows each batch holds: a pure function of (seed, step), the same for any number of ranks.

Each mode is one endless sequence of draws that is cut into batches, so a run resumes from its step
alone. Drawing with replacement instead (`WeightedRandomSampler`) leaves out 7 % of a minority in
each epoch.

batches = build_batches(Candidates(labels), Sampling(mode="balanced"), batch_size=64, seed=0)
rows = batches.batch(step=0)
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
import numpy.typing as npt

from features.core.manifest import Ids
from features.errors import ConfigError
from features.settings.learning import Sampling

Ints = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float64]

CHUNK = 65_536
"""Rows worked on at once: they stay in the L2 cache, and calls cost next to nothing."""


@dataclass(frozen=True)
class Candidates:
    """Rows that may be drawn; all arrays `(m,)`, in the order of the member's rows.

    `labels`: 1 = fake, 0 = real. `draw_weights`: positive, `data.columns.draw_weight`.
    `generators`: equal codes mean the same generator. `None`: there is no such column.
    """

    labels: Ints
    draw_weights: Floats | None = None
    generators: Ints | None = None


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
            self._fill(self._order, np.random.default_rng([*self._key, number]))
            self._held = number
        return self._order

    @abstractmethod
    def _fill(self, order: Ints, rng: np.random.Generator) -> None:
        """Writes one pass into `order` `(size,)`."""


class Permutations(Passes):
    """All `rows`, permuted afresh on every pass: none repeats before all of them are drawn."""

    def __init__(self, rows: Ints, key: Sequence[int]) -> None:
        super().__init__(len(rows), rows.dtype, key)
        self._rows = rows

    def _fill(self, order: Ints, rng: np.random.Generator) -> None:
        order[:] = self._rows
        rng.shuffle(order)


class SystematicDraws(Passes):
    """Passes of `size` draws in proportion to `weights` `(m,)`.

    Systematic sampling (Madow, "On the theory of systematic sampling, II", 1949): the rows lie on
    a line in random order, each as long as its expected count, and one random offset plus every
    whole number is a draw. So a row comes as often as expected, rounded down or up.
    """

    def __init__(self, weights: Floats, size: int, key: Sequence[int]) -> None:
        super().__init__(size, _choose_type(len(weights)), key)
        self._weights = weights
        self._scale = size / float(weights.sum())

    def _fill(self, order: Ints, rng: np.random.Generator) -> None:
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
        share, length = self._share, stop - start
        # The start is taken off in Python's whole numbers, which do not overflow.
        before, rest = divmod(start * share.numerator, share.denominator)
        reals = (rest + np.arange(length + 1) * share.numerator) // share.denominator
        is_real = np.diff(reals) > 0
        first, last = before, before + int(reals[-1])
        rows = np.empty(length, np.int64)
        rows[is_real] = self._reals.take(first, last)
        rows[~is_real] = self._fakes.take(start - first, stop - last)
        return rows


class Batches:
    """Draws cut into batches; `len()` is the number of steps of one epoch."""

    def __init__(self, draws: Draws, steps: int, batch_size: int) -> None:
        self.batch_size = batch_size
        self._draws, self._steps = draws, steps
        # A batch of its own costs ten calls of NumPy; a short epoch needs no whole chunk.
        self._steps_held = max(1, min(steps, CHUNK // batch_size))
        self._held, self._rows = -1, np.empty(0, np.int64)

    def __len__(self) -> int:
        return self._steps

    def batch(self, step: int) -> Ids:
        """`(batch_size,)` positions in the candidates; `step` counts over all epochs from 0."""
        chunk, place = divmod(step, self._steps_held)
        if chunk != self._held:
            length = self._steps_held * self.batch_size
            self._rows = self._draws.take(chunk * length, (chunk + 1) * length)
            self._held = chunk
        return self._rows[place * self.batch_size : (place + 1) * self.batch_size].copy()


def build_batches(
    candidates: Candidates, sampling: Sampling, batch_size: int, seed: int
) -> Batches:
    """The batches that `sampling` asks for, over all ranks.

    An epoch has as many draws as there are candidates, and in mode `undersample` as many as use up
    the class that runs out first; both rounded down to whole batches, at least one.

    Raises:
        ConfigError: a class or a column that the mode needs is missing.
    """
    m = len(candidates.labels)
    steps = max(1, m // batch_size)
    if sampling.mode == "natural":
        everything = np.arange(m, dtype=_choose_type(m))
        return Batches(Permutations(everything, [seed, 0, 0]), steps, batch_size)
    if sampling.mode == "weighted":
        weights = _find_weights(candidates, sampling)
        systematic = SystematicDraws(weights, steps * batch_size, [seed, 1, 0])
        return Batches(systematic, steps, batch_size)
    shares = _share_classes(candidates.labels, sampling)
    strata = _split_classes(candidates.labels)
    if sampling.mode == "undersample":
        used_up = min(len(rows) / share for rows, share in zip(strata, shares, strict=True))
        steps = max(1, int(used_up) // batch_size)
    reals, fakes = (Permutations(rows, [seed, 0, c]) for c, rows in enumerate(strata))
    return Batches(Mixture(reals, fakes, shares[0]), steps, batch_size)


def weigh_draws(candidates: Candidates, sampling: Sampling) -> Floats:
    """Expected share of each candidate among all draws, `(m,)`, adds up to 1.

    Raises:
        ConfigError: as `build_batches`.
    """
    labels = candidates.labels
    if sampling.mode == "natural":
        return np.full(len(labels), 1 / len(labels))
    if sampling.mode == "weighted":
        weights = _find_weights(candidates, sampling)
        return weights / weights.sum()
    shares = _share_classes(labels, sampling)
    fakes = int(np.count_nonzero(labels))
    counts = (len(labels) - fakes, fakes)
    return np.array([float(s) / n for s, n in zip(shares, counts, strict=True)])[labels]


def share_of_reals(sampling: Sampling) -> Fraction:
    """Reals among the draws of a mode that has a ratio, as an exact share."""
    # A float may stand for a fraction such as 1/3; of a tiny one the inverse keeps its digits.
    ratio = sampling.real_per_fake
    if ratio < 1:
        return 1 / (1 + Fraction(1 / ratio).limit_denominator(10_000))
    return 1 - 1 / (1 + Fraction(ratio).limit_denominator(10_000))


def _choose_type(rows: int) -> np.dtype:
    """Type of row numbers: half the memory where they fit."""
    return np.dtype(np.int32 if rows < 2**31 else np.int64)


def _share_classes(labels: Ints, sampling: Sampling) -> tuple[Fraction, Fraction]:
    """Shares of reals and fakes among the draws; checks that there are rows of both."""
    fakes, rows = int(np.count_nonzero(labels)), len(labels)
    if fakes in (0, rows):
        present = "fake" if fakes else "real"
        problem = f"needs both classes, but all {rows} images to learn from are {present}"
        raise ConfigError("params.yaml", [f"sampling.mode {sampling.mode} {problem}"])
    real = share_of_reals(sampling)
    return real, 1 - real


def _split_classes(labels: Ints) -> tuple[Ints, Ints]:
    """Rows of reals and of fakes; in chunks, since a mask and int64 take nine bytes a row."""
    fakes = int(np.count_nonzero(labels))
    sizes, dtype = (len(labels) - fakes, fakes), _choose_type(len(labels))
    strata = (np.empty(sizes[0], dtype), np.empty(sizes[1], dtype))
    filled = [0, 0]
    for start in range(0, len(labels), CHUNK):
        part = labels[start : start + CHUNK]
        for c, rows in enumerate(strata):
            found = np.flatnonzero(part == c) + start
            rows[filled[c] : filled[c] + len(found)] = found
            filled[c] += len(found)
    return strata


def _find_weights(candidates: Candidates, sampling: Sampling) -> Floats:
    """Weights of mode `weighted`, `(m,)`, in whatever scale."""
    if sampling.weights == "column" and candidates.draw_weights is not None:
        return candidates.draw_weights
    if sampling.weights == "generator" and candidates.generators is not None:
        return _weigh_generators(candidates.labels, candidates.generators, sampling)
    column = {"column": "draw_weight", "generator": "generator"}[sampling.weights]
    problem = f"data.columns.{column} names no column of the label file"
    raise ConfigError("params.yaml", [f"sampling.weights {sampling.weights}: {problem}"])


def _weigh_generators(labels: Ints, generators: Ints, sampling: Sampling) -> Floats:
    """Every generator of a class weighs the same, shared out among its rows."""
    weights = np.empty(len(labels))
    for share, rows in zip(_share_classes(labels, sampling), _split_classes(labels), strict=True):
        _, codes, sizes = np.unique(generators[rows], return_inverse=True, return_counts=True)
        weights[rows] = float(share) / (len(sizes) * sizes[codes])
    return weights
