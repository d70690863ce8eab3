"""Hashes of very many names, in blocks: a Python string takes three times the bytes of its text."""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import compress

import numpy as np
import numpy.typing as npt
import pandas as pd

Names = Sequence[str] | pd.Series
Mask = npt.NDArray[np.bool_]
BLOCK = 65_536
"""Names that are Python strings at a time: about 6 MB."""


def iterate_names(names: Names, kept: Mask | None = None) -> Iterator[list[str]]:
    """`names`, or those that a mask `(n,)` keeps, as lists of at most `BLOCK` strings."""
    for start in range(0, len(names), BLOCK):
        block = slice(start, start + BLOCK)
        found = names.iloc[block].tolist() if isinstance(names, pd.Series) else list(names[block])
        yield found if kept is None else list(compress(found, kept[block]))


def hash_names(
    names: Names, seed: int, purpose: str, kept: Mask | None = None
) -> npt.NDArray[np.uint64]:
    """64-bit hashes of names, or of those that `kept` `(n,)` marks, for this seed and purpose."""
    # A copy takes half the time of a new hash with the same key.
    copy = blake2b(digest_size=8, key=f"{seed}:{purpose}".encode()).copy
    hashes = np.empty(len(names) if kept is None else np.count_nonzero(kept), np.uint64)
    start = 0
    for block in iterate_names(names, kept):
        digests = []
        for name in block:
            digest = copy()
            digest.update(name.encode())
            digests.append(digest.digest())
        hashes[start : start + len(block)] = np.frombuffer(b"".join(digests), dtype="<u8")
        start += len(block)
    return hashes


def screen_repeated(names: Names) -> npt.NDArray[np.int64]:
    """Positions, ascending, of all names that stand more than once, and hardly any other.

    Where two names have the same hash, one that stands once may be among them: Python's hashes
    differ from process to process, so look at the names before a result depends on it.
    """
    hashes = np.empty(len(names), np.int64)
    start = 0
    for block in iterate_names(names):
        hashes[start : start + len(block)] = np.fromiter(map(hash, block), np.int64, len(block))
        start += len(block)
    order = np.argsort(hashes)
    hashes = hashes[order]
    same = hashes[1:] == hashes[:-1]
    repeated = np.zeros(len(names), bool)
    repeated[order[1:][same]] = True
    repeated[order[:-1][same]] = True
    return np.flatnonzero(repeated).astype(np.int64)


def link_repeated(values: pd.Series) -> npt.NDArray[np.int64]:
    """`(m, 2)` positions: the first row of a value, and each further one; by the latter, ascending.

    Empty and missing values link nothing.
    """
    if not (values != "").any():  # all the same, and none of it counts
        return np.empty((0, 2), np.int64)
    rows = screen_repeated(values)
    found = values.iloc[rows]
    filled = (found.notna() & (found != "")).to_numpy(bool)
    rows = rows[filled]
    codes, known = pd.factorize(found[filled])
    first = np.empty(len(known), np.int64)
    first[codes[::-1]] = rows[::-1]  # the last one written is the first row
    links = np.stack([first[codes], rows], axis=1)
    return np.asarray(links[links[:, 0] != links[:, 1]])
