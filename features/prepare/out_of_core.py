"""More rows than memory holds: arrays on the disk, and parts of them that are sorted alone."""

import os
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import numpy.typing as npt

from features.core.files import name_place
from features.core.manifest import Ids

LARGE = 1 << 26
"""Bytes above which an array leaves memory."""
PART = 1 << 22
"""Rows that are sorted together, more or less."""
_ODD = np.uint64(0x9E3779B97F4A7C15)
"""2^64 / golden ratio: high bits of products with it are spread evenly (Knuth, TAOCP 6.4)."""


def allocate(shape: tuple[int, ...], dtype: npt.DTypeLike, folder: Path | None) -> npt.NDArray[Any]:
    """An array of any content; a large one in a file of `folder`, without a folder in memory.

    The file has no name: the system drops it with the array, also where the process is killed. What
    of it is in memory is the system's to take back. Its space is taken at once: raises `OSError`
    where the disk has less.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if folder is None or size <= LARGE:
        return np.empty(shape, dtype)
    with name_place(folder), TemporaryFile(dir=folder) as file:
        _reserve(file.fileno(), size)
        return np.memmap(file, dtype, "r+", shape=shape)


def _reserve(descriptor: int, size: int) -> None:
    """A map that is written where no space was reserved kills the process on a full disk."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:  # macOS
        os.truncate(descriptor, size)


def split_by_value(
    read: Callable[[slice], npt.NDArray[np.uint64]], n: int, folder: Path | None
) -> Iterator[Ids]:
    """Positions 0 … n-1 in parts of about `PART`, each ascending; equal values share a part.

    `read` gives the values of a block; one value that is common makes its part larger.
    """
    bits = (max(n - 1, 0) // PART).bit_length()
    if not bits:
        yield np.arange(n)
        return
    shift = np.uint64(64 - bits)
    blocks = [slice(begin, min(begin + PART, n)) for begin in range(0, n, PART)]

    def number_parts(block: slice) -> tuple[npt.NDArray[np.uint16], Ids]:
        parts = (read(block) * _ODD >> shift).astype(np.uint16)
        return parts, np.bincount(parts, minlength=2**bits)

    ends = np.cumsum(sum(number_parts(block)[1] for block in blocks))
    filled = np.concatenate([[0], ends[:-1]])
    positions = allocate((n,), np.int64, folder)
    for block in blocks:
        parts, counts = number_parts(block)
        part, step = expand(counts)
        positions[filled[part] + step] = block.start + np.argsort(parts, kind="stable")
        filled += counts
    for begin, end in pairwise([0, *ends.tolist()]):
        yield np.array(positions[begin:end])


def expand(counts: Ids) -> tuple[Ids, Ids]:
    """Each index `counts` times, and the number 0, 1, … of each of its repeats."""
    index = np.repeat(np.arange(len(counts)), counts)
    return index, np.arange(len(index)) - (np.cumsum(counts) - counts)[index]
