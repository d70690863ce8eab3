"""Which rows each batch holds: a pure function of (seed, step), the same for any number of ranks.

Each mode is one endless sequence of draws that is cut into batches, so a run resumes from its step
alone. Drawing with replacement instead (`WeightedRandomSampler`) leaves out 7 % of a minority in
each epoch.

batches = build_batches(Candidates(labels), Sampling(mode="balanced"), batch_size=64, seed=0)
rows = batches.batch(step=0)
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from features.core.manifest import Ids
from features.errors import ConfigError
from features.settings.learning import Sampling
from stage1_cnn.sampling.pairs import PairedDraws
from stage1_cnn.sampling.sequences import (
    CHUNK,
    Draws,
    Floats,
    Ints,
    Mixture,
    Permutations,
    SystematicDraws,
    choose_type,
)


@dataclass(frozen=True)
class Candidates:
    """Rows that may be drawn; all arrays `(m,)`, in the order of the member's rows.

    `labels`: 1 = fake, 0 = real. `draw_weights`: positive, `data.columns.draw_weight`.
    `generators`, `groups`: equal codes mean the same one. `None`: there is no such column, or the
    sampling does not ask for it.
    """

    labels: Ints
    draw_weights: Floats | None = None
    generators: Ints | None = None
    groups: Ints | None = None


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
        ConfigError: a class, a column or a pair that is asked for is missing.
    """
    m = len(candidates.labels)
    steps = max(1, m // batch_size)
    if sampling.mode == "natural":
        everything = np.arange(m, dtype=choose_type(m))
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
    draws: list[Draws] = [Permutations(rows, [seed, 0, c]) for c, rows in enumerate(strata)]
    if sampling.pairs:
        # The class whose passes are longer follows the other one: what can meet does so then.
        c = int(len(strata[1]) / shares[1] >= len(strata[0]) / shares[0])
        groups = _find_pairs(candidates)
        draws[c] = PairedDraws(
            strata[c], groups, draws[1 - c], shares[0], batch_size, [seed, 0, c], are_real=c == 0
        )
    return Batches(Mixture(draws[0], draws[1], shares[0]), steps, batch_size)


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
    sizes, dtype = (len(labels) - fakes, fakes), choose_type(len(labels))
    strata = (np.empty(sizes[0], dtype), np.empty(sizes[1], dtype))
    filled = [0, 0]
    for start in range(0, len(labels), CHUNK):
        part = labels[start : start + CHUNK]
        for c, rows in enumerate(strata):
            found = np.flatnonzero(part == c) + start
            rows[filled[c] : filled[c] + len(found)] = found
            filled[c] += len(found)
    return strata


def _find_pairs(candidates: Candidates) -> Ints:
    """Groups of the candidates, `(m,)`; raises `ConfigError` where none holds both classes."""
    labels, groups = candidates.labels, candidates.groups
    assert groups is not None
    if not np.isin(groups[labels == 0], groups[labels == 1]).any():
        problem = (
            f"sampling.pairs: no group of the {len(labels)} images to learn from holds both a real "
            "and a fake (data.group_columns says what is a group)"
        )
        raise ConfigError("params.yaml", [problem])
    return groups


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
