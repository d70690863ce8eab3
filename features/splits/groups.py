"""Groups: rows that stay together, and draws of whole groups by a seeded hash of names."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.core.manifest import Ids
from features.splits.names import Names, hash_names, link_repeated

Labels = npt.NDArray[np.integer]
SPARSE = 4
"""Numbers up to so many times the rows are looked up in an array of them: a hash table takes five
times its memory."""


def build_groups(keys: pd.DataFrame, links: Ids | None = None) -> Ids:
    """`(n,)` group numbers: rows that share a value in any column, directly or by others.

    `links` `(m, 2)` are pairs of positions that belong together for another reason. Empty values
    link nothing. Numbers follow the first row of each group.
    """
    from scipy.sparse import coo_array  # late: a third of a second that labelling can do without
    from scipy.sparse.csgraph import connected_components

    n = len(keys)
    edges = [np.empty((0, 2), np.int64) if links is None else links]
    edges += [link_repeated(keys[column]) for column in keys.columns]
    ends = np.concatenate(edges)
    linked = np.zeros(n, bool)
    linked[ends] = True
    rows = np.flatnonzero(linked)
    # The graph is one of linked rows alone, and of half the width: most rows are single.
    nodes = (np.cumsum(linked, dtype=np.int32) - 1)[ends]
    graph = coo_array((np.ones(len(nodes), bool), tuple(nodes.T)), shape=(len(rows), len(rows)))
    _, parts = connected_components(graph, directed=False)
    _, first = np.unique(parts, return_index=True)
    origin = np.arange(n)
    origin[rows] = rows[first[parts]]
    numbers = np.cumsum(origin == np.arange(n)) - 1
    return np.asarray(numbers[origin], dtype=np.int64)


def draw_half(groups: Ids, names: Names, purpose: str) -> npt.NDArray[np.bool_]:
    """`(n,)`: rows of about half of the groups, by a hash of the name of their first row.

    For a `purpose` always the same ones, whatever the seed and whatever rows come after them.
    """
    codes, first = factorize_groups(groups)
    hashes = hash_names(names, 0, purpose, mark_rows(first, len(groups)))
    return np.asarray((hashes % np.uint64(2) == 0)[codes])


def factorize_groups(groups: Ids) -> tuple[Ids, Ids]:
    """`(n,)` numbers 0 … g-1 in the order of first rows, and `(g,)` positions of these."""
    n = len(groups)
    if n and (groups.min() < 0 or groups.max() > SPARSE * n):
        groups = pd.factorize(groups)[0]
    origin = np.empty(int(groups.max(initial=-1)) + 1, np.int64)
    origin[groups[::-1]] = np.arange(n - 1, -1, -1)  # the last one written is the first row
    is_first = mark_rows(origin[groups], n)
    origin[groups[is_first]] = np.arange(int(is_first.sum()))
    return origin[groups], np.flatnonzero(is_first)


def mark_rows(rows: Ids, n: int) -> npt.NDArray[np.bool_]:
    """`(n,)` mask of `rows`."""
    mask = np.zeros(n, bool)
    mask[rows] = True
    return mask


def count_groups(labels: Labels, codes: Ids) -> tuple[Ids, Ids]:
    """`(g,)` reals and fakes of each group 0 … g-1."""
    count = int(codes.max(initial=-1)) + 1
    reals, fakes = (np.bincount(codes[labels == label], minlength=count) for label in (0, 1))
    return reals, fakes


def draw_whole_groups(
    labels: Labels, groups: Ids, names: Names, wanted: tuple[int, int], seed: int, why: str
) -> npt.NDArray[np.bool_]:
    """`(n,)` mask of whole groups, in random order, until `wanted` (reals, fakes) are reached.

    The order is by a hash of one row of each group: by the least hash of all its rows large groups
    would come first. A group that would bring only rows of a class that is already complete is
    passed over.
    """
    codes, _ = factorize_groups(groups)
    sizes = count_groups(labels, codes)
    is_lead = _find_leads(codes, names)
    hashes = np.empty(len(sizes[0]), np.uint64)
    hashes[codes[is_lead]] = hash_names(names, seed, why, is_lead)
    order = np.argsort(hashes, kind="stable")
    chosen = np.zeros(len(order), bool)
    for held, enough in zip(sizes, wanted, strict=True):
        # Every group with rows of a class is taken until it is complete, so sums hold no gap.
        before = np.cumsum(held[order]) - held[order]
        chosen[order] |= (before < enough) & (held[order] > 0)
    return np.asarray(chosen[codes])


def _find_leads(codes: Ids, names: Names) -> npt.NDArray[np.bool_]:
    """`(n,)`: a row of each group, always the same one of its names, wherever they stand."""
    sizes = np.bincount(codes)
    is_lead = np.asarray(sizes[codes] == 1)
    several = np.flatnonzero(~is_lead)
    hashes = hash_names(names, 0, "lead", ~is_lead)
    least = np.full(len(sizes), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(least, codes[several], hashes)
    is_lead[several] = hashes == least[codes[several]]
    return is_lead
