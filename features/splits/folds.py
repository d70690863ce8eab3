"""Folds and calibration rows: rows of one group never straddle them.

Everything is drawn by a seeded hash of names, so that new rows move as few old ones as possible.
"""

import heapq
import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.core.manifest import NO_FOLD, Ids, count_classes
from features.errors import ManifestError
from features.splits.groups import (
    Labels,
    count_groups,
    draw_whole_groups,
    factorize_groups,
    mark_rows,
)
from features.splits.names import Names, hash_names

AFFORDABLE = 0.25
"""Calibration rows take at most this share of either class."""
COMMON = 1000
"""Groups of one make-up (reals, fakes) that are dealt out by a hash from so many on.

Each of five folds then holds its share of them to within 6 % (one standard deviation), less the
more there are; scikit-learn would be exact, but takes 157 µs a group, and may move old ones.
"""


SLACK = 0.1
"""By how much a fold may exceed its share of a class that is rare. Without it, a row more among the
others would move nearly all that come after it."""


def assign_folds(
    labels: Labels, groups: Ids, names: Names, count: int, seed: int
) -> npt.NDArray[np.int16]:
    """`(n,)` folds 0 … count-1, by group, stratified by label.

    Groups of a make-up that is `COMMON`, and single rows, are dealt out by a hash of their first
    row's name, at a linear cost. Of a class with fewer than `COMMON` single rows no fold gets more
    than its share, `SLACK` and one row (`_deal_evenly`): five reals lie in five folds. The other
    groups go through scikit-learn's `StratifiedGroupKFold`.

    No new row moves a group or a class that is `COMMON`, wherever it stands. Of rarer classes, new
    rows below the old ones move no single row; one among them moves those few after it whose fold
    is full now. A class that becomes `COMMON` moves the rows that were not where their hash says.
    """
    codes, first = factorize_groups(groups)
    hashed = _find_common(labels, codes)
    folds = np.zeros(len(first), np.int16)
    hashes = hash_names(names, seed, "fold", mark_rows(first[hashed], len(codes)))
    folds[hashed] = hashes % np.uint64(count)
    single = np.bincount(codes)[codes[first[hashed]]] == 1
    for label in (0, 1):
        rare = single & (labels[first[hashed]] == label)
        if rare.sum() < COMMON:
            folds[np.flatnonzero(hashed)[rare]] = _deal_evenly(hashes[rare].tolist(), count)
    folds = folds[codes]
    rest = np.flatnonzero(~hashed[codes])
    folds[rest] = _split_groups(labels[rest], groups[rest], count, seed)
    return folds


def _deal_evenly(hashes: list[int], count: int) -> npt.NDArray[np.int16]:
    """`(n,)` folds of rows in their order: that of the hash, or another where it is full.

    Full is a fold that holds what an even deal of the rows so far gives it, and `SLACK` of that.
    """
    sizes = [0] * count
    folds = np.empty(len(hashes), np.int16)
    for i, number in enumerate(hashes):
        limit = int(i // count * (1 + SLACK)) + 1
        wanted = number % count
        if sizes[wanted] >= limit:
            least = [fold for fold in range(count) if sizes[fold] == min(sizes)]
            wanted = least[number // count % len(least)]
        folds[i] = wanted
        sizes[wanted] += 1
    return folds


def _find_common(labels: Labels, codes: Ids) -> npt.NDArray[np.bool_]:
    """`(g,)`: single rows, and groups of a make-up that at least `COMMON` groups have."""
    reals, fakes = count_groups(labels, codes)
    kinds, known = pd.factorize(reals * (fakes.max(initial=0) + 1) + fakes)
    is_common = np.bincount(kinds, minlength=len(known)) >= COMMON
    return np.asarray(is_common[kinds] | (reals + fakes == 1))


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
    drawn = draw_whole_groups(labels, groups, names, (reals, fakes), seed, "calibration")
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
