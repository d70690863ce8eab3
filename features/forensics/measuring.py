"""Rows of a store into features, as many at a time as one process takes on."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.core.manifest import Role
from features.forensics.columns import COLUMNS, count_together, measure_images
from features.pixels.kernels import settle_kernels
from features.pixels.store import ImageStore

ROWS = 256
"""Rows that a process takes on at a time: a second or two of work."""


@dataclass(frozen=True)
class RowRange:
    """Rows `start` … `stop - 1` of a role."""

    role: Role
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def split_ranges(role: Role, missing: list[tuple[int, int]]) -> list[RowRange]:
    """Ranges of at most `ROWS` rows."""
    return [
        RowRange(role, first, min(first + ROWS, stop))
        for start, stop in missing
        for first in range(start, stop, ROWS)
    ]


def measure_store(store: ImageStore) -> npt.NDArray[np.float32]:
    """`(n, c)` features of all images of a store; a few of them are in memory at a time."""
    step = count_together(store.size)
    rows = [np.arange(i, min(i + step, len(store))) for i in range(0, len(store), step)]
    empty = np.empty((0, len(COLUMNS)), np.float32)
    return np.concatenate([empty, *(measure_images(store.gather(r)) for r in rows)])


def measure_range(
    rows: RowRange,
    store: ImageStore,
    readable: npt.NDArray[np.bool_],
    worker_bytes: float | None = None,
) -> tuple[RowRange, npt.NDArray[np.float32]]:
    """`rows`, and their features `(n, c)`; `store` holds the readable ones, others are NaN.

    `worker_bytes`: of all files that a process of joblib's will decode (`settle_kernels`).
    """
    if worker_bytes is not None:
        settle_kernels(worker_bytes)
    values = np.full((len(rows), len(COLUMNS)), np.nan, np.float32)
    values[readable] = measure_store(store)
    if not np.isfinite(values[readable]).all():
        raise ValueError(f"features that are not finite in {rows}")
    return rows, values
