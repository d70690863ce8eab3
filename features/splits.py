"""Groups and splits: rows of one source never straddle folds or roles.

Everything is drawn by a seeded hash of names, so that new rows move as few old ones as possible.
"""

import heapq
import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from features.errors import ManifestError
from features.manifest import NO_FOLD, Ids, count_classes
from features.names import Names, hash_names, link_repeated

Labels = npt.NDArray[np.integer]
AFFORDABLE = 0.25
"""Calibration rows take at most this share of either class."""
COMMON = 1000
"""Groups of one make-up (reals, fakes) that are dealt out by a hash from so many on.

Each of five folds then holds its share of them to within 6 % (one standard deviation), less the
more there are; scikit-learn would be exact, but takes 157 µs a group, and may move old ones.
"""


def build_groups(keys: pd.DataFrame, links: Ids | None = None) -> Ids:
    """`(n,)` group numbers: rows that share a value in any column, directly or by others.

    `links` `(m, 2)` are pairs of positions that belong together for another reason. Empty values
    link nothing. Numbers follow the first row of each group.
    """
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


def assign_folds(
    labels: Labels, groups: Ids, names: Names, count: int, seed: int
) -> npt.NDArray[np.int16]:
    """`(n,)` folds 0 … count-1, by group, stratified by label.

    Single rows, and groups of a make-up that is `COMMON`, are dealt out by a hash of their first
    row's name: at a linear cost, and no new row moves an old one. The other groups go through
    scikit-learn's `StratifiedGroupKFold`.
    """
    codes, first = _number_groups(groups)
    hashed = _find_common(labels, codes)
    folds = np.zeros(len(first), np.int16)
    hashes = hash_names(_take(names, first[hashed]), seed, "fold")
    folds[hashed] = hashes % np.uint64(count)
    folds = folds[codes]
    rest = np.flatnonzero(~hashed[codes])
    folds[rest] = _split_groups(labels[rest], groups[rest], count, seed)
    return folds


def draw_half(groups: Ids, names: Names, purpose: str) -> npt.NDArray[np.bool_]:
    """`(n,)`: rows of about half of the groups, by a hash of the name of their first row.

    For a `purpose` always the same ones, whatever the seed and whatever rows come after them.
    """
    codes, first = _number_groups(groups)
    hashes = hash_names(_take(names, first), 0, purpose)
    return np.asarray((hashes % np.uint64(2) == 0)[codes])


def _number_groups(groups: Ids) -> tuple[Ids, Ids]:
    """`(n,)` numbers 0 … g-1 in the order of first rows, and `(g,)` positions of these."""
    codes, known = pd.factorize(groups)
    first = np.empty(len(known), np.int64)
    first[codes[::-1]] = np.arange(len(codes))[::-1]  # the last one written is the first row
    return codes, first


def _count_groups(labels: Labels, codes: Ids) -> tuple[Ids, Ids]:
    """`(g,)` reals and fakes of each group 0 … g-1."""
    count = int(codes.max(initial=-1)) + 1
    reals, fakes = (np.bincount(codes[labels == label], minlength=count) for label in (0, 1))
    return reals, fakes


def _find_common(labels: Labels, codes: Ids) -> npt.NDArray[np.bool_]:
    """`(g,)`: single rows, and groups of a make-up that at least `COMMON` groups have."""
    reals, fakes = _count_groups(labels, codes)
    kinds, known = pd.factorize(reals * (fakes.max(initial=0) + 1) + fakes)
    is_common = np.bincount(kinds, minlength=len(known)) >= COMMON
    return np.asarray(is_common[kinds] | (reals + fakes == 1))


def _take(names: Names, rows: Ids) -> Names:
    return names.iloc[rows] if isinstance(names, pd.Series) else [names[i] for i in rows]


def split_evenly(labels: Labels, groups: Ids, count: int, seed: int) -> npt.NDArray[np.int16]:
    """`(n,)` parts 0 … count-1 of rows that stay as they are: by group, stratified exactly.

    Raises `ManifestError` if a class has fewer groups than there are parts.
    """
    problems = []
    for label, name in ((0, "reals"), (1, "fakes")):
        held = len(np.unique(groups[labels == label]))
        if held < count:
            problems.append(f"{len(groups)} rows hold {held} groups of {name}, fewer than {count}")
    if problems:
        advice = "Lower stack.inner_folds or folds.count, or add rows of that class."
        raise ManifestError("inner folds", problems, advice)
    parts = np.empty(len(labels), np.int16)
    grouped = _find_grouped(groups)
    parts[grouped] = _split_groups(labels[grouped], groups[grouped], count, seed)
    single = np.setdiff1d(np.arange(len(labels)), grouped)
    rng = np.random.default_rng(seed)
    for label in (0, 1):
        sizes = np.bincount(parts[grouped[labels[grouped] == label]], minlength=count)
        rows = rng.permutation(single[labels[single] == label])
        parts[rows] = _fill_up(sizes.tolist(), len(rows))
    return parts


def _fill_up(sizes: list[int], n: int) -> npt.NDArray[np.int16]:
    """`(n,)` parts for `n` more rows, each into a part that has the fewest by then."""
    heap = [(size, part) for part, size in enumerate(sizes)]
    heapq.heapify(heap)
    parts = np.empty(n, np.int16)
    for i in range(n):
        size, part = heap[0]
        parts[i] = part
        heapq.heapreplace(heap, (size + 1, part))
    return parts


def _find_grouped(groups: Ids) -> Ids:
    """Positions of rows that share their group with another row."""
    _, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return np.flatnonzero(sizes[inverse] > 1).astype(np.int64)


def _split_groups(labels: Labels, groups: Ids, count: int, seed: int) -> npt.NDArray[np.int16]:
    from sklearn.model_selection import StratifiedGroupKFold

    parts = np.empty(len(labels), np.int16)
    _, numbers = np.unique(groups, return_inverse=True)
    if numbers.max(initial=-1) + 1 < count:  # scikit-learn refuses fewer groups than parts
        return np.random.default_rng(seed).permutation(count)[numbers].astype(np.int16)
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # It warns of few rows of a class, but the single rows are still to come.
        warnings.simplefilter("ignore", UserWarning)
        for part, (_, held) in enumerate(splitter.split(groups, labels, groups)):
            parts[held] = part
    return parts


def draw_groups(
    labels: Labels, groups: Ids, names: Names, wanted: tuple[int, int], seed: int, why: str
) -> npt.NDArray[np.bool_]:
    """`(n,)` mask of whole groups, in hashed order, until `wanted` (reals, fakes) are reached.

    A group that would bring only rows of a class that is already complete is passed over.
    """
    codes, _ = _number_groups(groups)
    sizes = _count_groups(labels, codes)
    hashes = np.full(len(sizes[0]), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(hashes, codes, hash_names(names, seed, why))
    order = np.argsort(hashes, kind="stable")
    chosen = np.zeros(len(order), bool)
    for held, enough in zip(sizes, wanted, strict=True):
        # Every group with rows of a class is taken until it is complete, so sums hold no gap.
        before = np.cumsum(held[order]) - held[order]
        chosen[order] |= (before < enough) & (held[order] > 0)
    return np.asarray(chosen[codes])


def draw_calibration(
    labels: Labels, groups: Ids, names: Names, share: float, least: int, seed: int
) -> npt.NDArray[np.bool_]:
    """`(n,)` mask of the calibration rows: of each class `share`, and at least `least` rows.

    All false where that would take more than a quarter of a class.
    """
    if not share:
        return np.zeros(len(labels), bool)
    counts = count_classes(labels)
    reals, fakes = (max(round(share * n), least) for n in counts)
    drawn = draw_groups(labels, groups, names, (reals, fakes), seed, "calibration")
    taken = count_classes(labels[drawn])  # the last group may bring far more than wanted
    affordable = all(t <= AFFORDABLE * n for t, n in zip(taken, counts, strict=True))
    return drawn if affordable else np.zeros(len(labels), bool)


def check_classes(labels: Labels, folds: npt.NDArray[np.int16], active: Sequence[int]) -> None:
    """Raises `ManifestError` unless each active fold, and the rest, hold both classes."""
    problems = []
    for fold in active:
        for where, keep in (
            (f"fold {fold}", folds == fold),
            (f"the other folds than {fold}", (folds != fold) & (folds != NO_FOLD)),
        ):
            reals, fakes = count_classes(labels[keep])
            if not reals or not fakes:
                problems.append(f"{where}: {reals} reals and {fakes} fakes, but both are needed")
    if problems:
        advice = "Use fewer folds (folds.count), or give the data more groups of that class."
        raise ManifestError("folds", problems, advice)
