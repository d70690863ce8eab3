"""Reading a memory-mapped array without keeping the pages that were read."""

import mmap

import numpy as np
import numpy.typing as npt

from features.core.manifest import Ids

ROWS = 4_096
"""Rows that are read before their pages are let go."""


def release_pages(array: np.ndarray) -> None:
    """Takes what was read of a read-only memory-mapped array out of this process.

    Pages that were read count as its memory until then. Whoever reads them again gets them from the
    system's cache. Does nothing for other arrays, and where the system cannot.
    """
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and not array.flags.writeable and hasattr(base, "madvise"):
        base.madvise(mmap.MADV_DONTNEED)


def copy_rows(array: np.ndarray, positions: Ids, dtype: npt.DTypeLike | None = None) -> np.ndarray:
    """`array[positions]` as `dtype`, in memory; of a memory-mapped array no page stays. One of Dask
    stays where it is."""
    if not isinstance(array, np.ndarray):
        return array[positions]
    taken = np.empty((len(positions), *array.shape[1:]), dtype or array.dtype)
    for start in range(0, len(positions), ROWS):
        taken[start : start + ROWS] = array[positions[start : start + ROWS]]
        release_pages(array)
    return taken
