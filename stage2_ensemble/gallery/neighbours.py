"""The rows of train that look most alike to the networks: nearest by embedding."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from features.core.manifest import Ids
from stage2_ensemble.columns.columns import Floats

Embeddings = Sequence[npt.NDArray[np.float16]]
"""`(n, d)` of each backbone, on the same rows."""
BLOCK = 4096
"""Rows of train at a time."""


def find_neighbours(queries: Embeddings, pool: Embeddings, count: int) -> tuple[Ids, Floats]:
    """Positions in `pool` `(n, k)`, most similar first, and similarities `(n, k)` in -1 … 1.

    Similarity: the cosine of embeddings, each less the mean of `pool`, averaged over backbones.
    k is `count`, or as many as `pool` holds.
    """
    total, asked = len(pool[0]), len(queries[0])
    found = np.empty((asked, 0), np.int64)
    similarities = np.empty((asked, 0))
    means = [_average(rows) for rows in pool]
    units = [_scale(rows, mean) for rows, mean in zip(queries, means, strict=True)]
    for start in range(0, total, BLOCK):
        parts = [
            unit @ _scale(rows[start : start + BLOCK], mean).T
            for unit, rows, mean in zip(units, pool, means, strict=True)
        ]
        near = np.mean(parts, axis=0)
        places = np.broadcast_to(np.arange(start, start + near.shape[1]), near.shape)
        found = np.concatenate([found, places], axis=1)
        similarities = np.concatenate([similarities, near], axis=1)
        best = np.argsort(-similarities, axis=1, kind="stable")[:, :count]
        found = np.take_along_axis(found, best, axis=1)
        similarities = np.take_along_axis(similarities, best, axis=1)
    return found, similarities


def _average(rows: npt.NDArray[np.float16]) -> Floats:
    """`(d,)`, block by block: `rows` may be mapped from a disk."""
    total = np.zeros(rows.shape[1])
    for start in range(0, len(rows), BLOCK):
        total += rows[start : start + BLOCK].sum(axis=0, dtype=np.float64)
    return total / max(len(rows), 1)


def _scale(rows: npt.NDArray[np.float16], mean: Floats) -> Floats:
    """`(n, d)` of length one; nothing stays nothing."""
    centred = rows.astype(np.float64) - mean
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(lengths, np.finfo(np.float64).tiny))
