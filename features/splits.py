"""Groups and splits: rows of one source never straddle folds or roles.

Everything is drawn by a seeded hash of names, so that new rows move as few old ones as possible.
"""

import heapq
import warnings
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from features.errors import ManifestError
from features.manifest import NO_FOLD, Ids, count_classes

Labels = npt.NDArray[np.integer]
AFFORDABLE = 0.25
"""Calibration rows take at most this share of either class."""


def hash_names(names: Sequence[str], seed: int, purpose: str) -> npt.NDArray[np.uint64]:
    """`(n,)` 64-bit hashes of names, different for each seed and purpose."""
    key = f"{seed}:{purpose}".encode()
    digests = b"".join(blake2b(n.encode(), digest_size=8, key=key).digest() for n in names)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def build_groups(keys: pd.DataFrame) -> Ids:
    """`(n,)` group numbers: rows that share a value in any column, directly or by others.

    Empty values link nothing. Numbers follow the first row of each group.
    """
    n = len(keys)
    rows, nodes, offset = [np.empty(0, np.int64)], [np.empty(0, np.int64)], n
    for column in keys.columns:
        filled = np.flatnonzero(keys[column].to_numpy() != "")
        codes, values = pd.factorize(keys[column].to_numpy()[filled])
        rows.append(filled)
        nodes.append(codes + offset)
        offset += len(values)
    edges = (np.concatenate(rows), np.concatenate(nodes))
    graph = coo_array((np.ones(len(edges[0]), bool), edges), shape=(offset, offset))
    _, parts = connected_components(graph, directed=False)
    return np.asarray(pd.factorize(parts[:n])[0], dtype=np.int64)


def assign_folds(
    labels: Labels, groups: Ids, names: Sequence[str], count: int, seed: int
) -> npt.NDArray[np.int16]:
    """`(n,)` folds 0 … count-1, by group, stratified by label.

    Groups of two or more rows go through scikit-learn's `StratifiedGroupKFold`; single rows are
    dealt out by a hash of their name, which keeps its cost linear and moves no old row.
    """
    folds = (hash_names(names, seed, "fold") % np.uint64(count)).astype(np.int16)
    grouped = _find_grouped(groups)
    folds[grouped] = _split_groups(labels[grouped], groups[grouped], count, seed)
    return folds


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
    labels: Labels, groups: Ids, names: Sequence[str], wanted: tuple[int, int], seed: int, why: str
) -> npt.NDArray[np.bool_]:
    """`(n,)` mask of whole groups, in hashed order, until `wanted` (reals, fakes) are reached.

    A group that would bring only rows of a class that is already complete is passed over.
    """
    frame = pd.DataFrame({"group": groups, "real": labels == 0, "fake": labels == 1})
    frame["order"] = hash_names(names, seed, why)
    table = frame.groupby("group").agg({"real": "sum", "fake": "sum", "order": "min"})
    table = table.sort_values("order")
    have, chosen = [0, 0], []
    for group, real, fake in zip(table.index, table["real"], table["fake"], strict=True):
        if have[0] >= wanted[0] and have[1] >= wanted[1]:
            break
        if (real and have[0] < wanted[0]) or (fake and have[1] < wanted[1]):
            have[0] += real
            have[1] += fake
            chosen.append(group)
    return np.isin(groups, chosen)


def draw_calibration(
    labels: Labels, groups: Ids, names: Sequence[str], share: float, least: int, seed: int
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
