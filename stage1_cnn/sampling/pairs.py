"""Draws of one class that meet rows of their own group, such as a fake the real it was made of."""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from stage1_cnn.sampling.sequences import Draws, Ints, Passes, count_reals


class PairedDraws(Passes):
    """All `rows` of one class in each pass, laid beside rows of their group in the same batch.

    A pass holds each row once, as a permutation does: what a class and each of its rows weigh among
    the draws is as without pairs. Only the order is another one, and where a group has more rows
    than the other class has draws of it, the others come beside rows of other groups.
    """

    def __init__(
        self,
        rows: Ints,
        groups: Ints,
        others: Draws,
        share: Fraction,
        batch_size: int,
        key: Sequence[int],
        are_real: bool,
    ) -> None:
        """`groups` `(m,)` of all candidates; `others`: draws of the other class, with which a
        `Mixture` of this `share` of reals is cut into batches of `batch_size`.
        """
        super().__init__(len(rows), rows.dtype, key)
        self._rows, self._groups, self._others = rows, groups, others
        self._share, self._batch_size, self._are_real = share, batch_size, are_real

    def _fill(self, order: Ints, rng: np.random.Generator, number: int) -> None:
        wanted = self._find_wanted(number * self.size)
        order[:] = lay_beside(self._rows, self._groups[self._rows], wanted, rng)

    def _find_wanted(self, first: int) -> Ints:
        """Groups of the rows beside the draws of the pass that begins at `first`, `(size,)`.

        -1 where the batch has none of the other class.
        """
        size, share = self._batch_size, self._share
        per_batch = size * (share if self._are_real else 1 - share)
        # Batches that hold the pass; counts are within one of these.
        begin = max(0, math.floor((first - 1) / per_batch))
        end = math.ceil((first + self.size + 1) / per_batch)
        reals_before, reals = count_reals(share, begin * size, size, end - begin + 1)
        fakes: Ints = np.arange(len(reals)) * size - reals
        of_reals, of_fakes = (reals_before, reals), (begin * size - reals_before, fakes)
        (before, own), (others_before, other) = (
            (of_reals, of_fakes) if self._are_real else (of_fakes, of_reals)
        )
        draws = first - before + np.arange(self.size)
        batch = np.searchsorted(own, draws, side="right") - 1
        own_count, other_count = np.diff(own)[batch], np.diff(other)[batch]
        beside = other[batch] + (draws - own[batch]) * other_count // own_count
        partners = self._others.take(others_before, others_before + int(other[-1]))
        wanted, some = np.full(self.size, -1, np.int64), other_count > 0
        wanted[some] = self._groups[partners[beside[some]]]
        return wanted


def lay_beside(rows: Ints, groups: Ints, wanted: Ints, rng: np.random.Generator) -> Ints:
    """`rows` `(n,)` of such `groups`, in an order in which as many as can be have the group that
    their place wants; which ones is random, and so is the order of the others.
    """
    shuffled, places = rng.permutation(len(rows)), rng.permutation(len(rows))
    shuffled = shuffled[np.argsort(groups[shuffled], kind="stable")]
    places = places[np.argsort(wanted[places], kind="stable")]
    have, want = groups[shuffled], wanted[places]
    # The n-th place that wants a group takes the n-th row of it.
    turn = np.arange(len(want)) - np.searchsorted(want, want)
    first, stop = np.searchsorted(have, want), np.searchsorted(have, want, side="right")
    met = first + turn < stop
    taken = (first + turn)[met]
    left = np.delete(shuffled, taken)
    order = np.empty_like(rows)
    order[places[met]] = rows[shuffled[taken]]
    order[places[~met]] = rows[rng.permutation(left)]
    return order
