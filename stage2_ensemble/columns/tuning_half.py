"""The half of the fold rows that settings are tuned on, and the other one, which judges them.

Settings that were chosen because they did well on some rows would be judged too well by these rows.
The halves are a hash of each group's name, not a draw by `seed`: the rows that judge must be the
same ones whenever, and with whatever seed, the settings were chosen.
"""

from collections.abc import Sequence

import numpy as np

from features.errors import ManifestError
from stage2_ensemble.columns.columns import FoldColumns, Mask, check_fittable

LEAST_GROUPS = 2
"""Of each class, in either half of a fold: some to fit, some to score."""


def take_tuning(folds: Sequence[FoldColumns]) -> list[FoldColumns]:
    """Rows that settings may be tuned on. Raises `ManifestError` if either half is too small."""
    untuned = mark_untuned(folds)
    return [columns.take(~mask) for columns, mask in zip(folds, untuned, strict=True)]


def mark_untuned(folds: Sequence[FoldColumns]) -> list[Mask]:
    """For each fold `(n,)`: rows that tuning never looks at. Raises as `take_tuning`."""
    masks, problems = [], []
    for columns in folds:
        check_fittable(columns)
        if columns.tuning is None:
            raise ValueError("these columns do not say which rows settings are tuned on")
        masks.append(~columns.tuning)
        problems += _find_problems(columns, columns.tuning)
    if problems:
        advice = "Give the fold more groups: a lower folds.count, more rows, or do without tuning."
        raise ManifestError("halves of the fold rows", problems, advice)
    return masks


def _find_problems(columns: FoldColumns, tuning: Mask) -> list[str]:
    problems = []
    for where, mask in (("tuned on", tuning), ("left to judge", ~tuning)):
        for label, name in ((0, "reals"), (1, "fakes")):
            count = len(np.unique(columns.groups[mask & (columns.labels == label)]))
            if count < LEAST_GROUPS:
                problems.append(
                    f"fold {columns.fold}: the half that is {where} holds {count} groups of "
                    f"{name}, fewer than {LEAST_GROUPS}"
                )
    return problems
