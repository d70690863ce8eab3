"""Which rows each batch holds: whole batches of indices, a pure function of (seed, step)."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from features.manifest import Ids
from features.train_params import Sampling


class StratifiedBatches:
    """Batches with a fixed share of each stratum, each stratum permuted afresh on every pass.

    No row of a stratum repeats before all of its rows have been drawn, also across epochs, so a
    minority image is never left out. With one stratum this is plain shuffling. Drawing with
    replacement instead (`WeightedRandomSampler`) leaves out 7 % of a minority in each epoch.

    Args:
        strata: index arrays, disjoint and not empty.
        shares: share of each batch, adds up to 1.
        batch_size: rows of a batch.
        seed: names the sequence.
    """

    def __init__(
        self, strata: Sequence[Ids], shares: Sequence[Fraction], batch_size: int, seed: int
    ) -> None:
        if any(len(rows) == 0 for rows in strata) or sum(shares) != 1:
            raise ValueError("strata must hold rows, and shares add up to 1")
        self.strata = list(strata)
        self.shares = list(shares)
        self.batch_size = batch_size
        self.seed = seed
        self._passes: dict[int, tuple[int, Ids]] = {}

    def __len__(self) -> int:
        """Batches of one epoch: as many draws as there are rows, rounded down, at least one."""
        return max(1, sum(len(rows) for rows in self.strata) // self.batch_size)

    def batch(self, step: int) -> Ids:
        """`(batch_size,)` row indices of batch `step`, counted over all epochs from 0."""
        parts = []
        for stratum in range(len(self.strata)):
            start, stop = self._drawn(stratum, step), self._drawn(stratum, step + 1)
            parts.append(self._take(stratum, start, stop))
        rows = np.concatenate(parts)
        return rows[np.random.default_rng([self.seed, 1, step]).permutation(len(rows))]

    def _drawn(self, stratum: int, steps: int) -> int:
        """Rows of a stratum drawn in the first `steps` batches; the last one takes the rest."""
        total = steps * self.batch_size
        if stratum < len(self.strata) - 1:
            return int(total * self.shares[stratum])
        return total - sum(self._drawn(other, steps) for other in range(stratum))

    def _take(self, stratum: int, start: int, stop: int) -> Ids:
        """Positions start … stop of the endless row of permutations of a stratum."""
        size = len(self.strata[stratum])
        parts = [np.empty(0, np.int64)]
        while start < stop:
            number, offset = divmod(start, size)
            end = min(size, offset + stop - start)
            parts.append(self._pass(stratum, number)[offset:end])
            start += end - offset
        return np.concatenate(parts)

    def _pass(self, stratum: int, number: int) -> Ids:
        known = self._passes.get(stratum)
        if known is None or known[0] != number:
            rng = np.random.default_rng([self.seed, 0, stratum, number])
            known = self._passes[stratum] = (number, rng.permutation(self.strata[stratum]))
        return known[1]


def build_batches(
    labels: npt.NDArray[np.integer], sampling: Sampling, batch_size: int, seed: int
) -> StratifiedBatches:
    """The sampler that `sampling` asks for; indices are positions in `labels` `(n,)`."""
    if sampling.mode == "natural":
        everything = np.arange(len(labels), dtype=np.int64)
        return StratifiedBatches([everything], [Fraction(1)], batch_size, seed)
    strata = [np.flatnonzero(labels == c).astype(np.int64) for c in (0, 1)]
    real = share_of_reals(sampling)
    return StratifiedBatches(strata, [real, 1 - real], batch_size, seed)


def share_of_reals(sampling: Sampling) -> Fraction:
    """Reals in a balanced batch, as an exact share."""
    ratio = Fraction(sampling.real_per_fake).limit_denominator(10_000)
    return ratio / (1 + ratio)
