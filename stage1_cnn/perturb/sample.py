"""A sample of rows to measure or to choose on: seeded, by class, and blind to every score."""

from typing import Literal

import numpy as np

from features.core.manifest import Ids, Manifest, find_headline_rows

_STREAM = 71
"""Tells these draws from others of the same seed."""
Rows = int | Literal["all"]


def draw_sample(val: Manifest, rows: Rows, seed: int) -> Ids:
    """Readable headline rows of val, as `_draw_rows` draws them."""
    known = val.rows_to_dump(0)
    return _draw_rows(known[find_headline_rows(val)[known]], val, rows, seed)


def draw_train_sample(train: Manifest, fold: int, rows: Rows, seed: int) -> Ids:
    """So many rows of `fold`, and as many calibration rows, which are the same for every fold."""
    parts = (train.fold_rows(fold), train.calibration_rows())
    return np.sort(np.concatenate([_draw_rows(part, train, rows, seed) for part in parts]))


def _draw_rows(known: Ids, manifest: Manifest, rows: Rows, seed: int) -> Ids:
    """Some of `known`, `row_id` increasing: half of them fakes, as far as there are.

    A larger sample of the same rows holds the smaller one, if neither exhausts a class. Empty where
    one class has no row.
    """
    classes = [known[manifest.labels[known] == label] for label in (0, 1)]
    if not all(len(ids) for ids in classes):
        return np.empty(0, np.int64)
    if rows == "all" or rows >= len(known):
        return np.sort(np.concatenate(classes))
    half, (reals, fakes) = rows // 2, classes
    taken = min(len(reals), max(half, rows - len(fakes)))
    counts = (taken, min(len(fakes), rows - taken))
    rng = np.random.default_rng([seed, _STREAM])
    drawn = [rng.permutation(ids)[:count] for ids, count in zip(classes, counts, strict=True)]
    return np.sort(np.concatenate(drawn)).astype(np.int64)
