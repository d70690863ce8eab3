"""Squares as rows that every network sees alike."""

from collections.abc import Iterable

import numpy as np

from serving.format.facts import Sight
from serving.reading.shown import RowSquares, ShownRows


def show_squares(squares: np.ndarray, sights: Iterable[Sight] = ()) -> ShownRows:
    """Each of `(n, s, s, 3)` as a row of its own; by default to networks that see the whole."""
    count = len(squares)
    own = RowSquares(squares, np.arange(count), np.ones(count, np.int64))
    whole = Sight(mode="square", side=squares.shape[1])
    return ShownRows(count, dict.fromkeys(sights or [whole], own))
