"""How many rounds of boosting: as many as lower the loss on rows that were left out.

A booster may have several kinds of trees, one after the other: steps, each with options of its own.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import lightgbm
import numpy as np

from stage2_ensemble.columns.columns import Floats, InnerFolds, Mask

Options = dict[str, object]
"""Parameters of LightGBM."""
STOP_AFTER = 30
"""Rounds without a lower weighted log loss that end the search for the number of rounds."""
LEFT_OUT = 20_000
"""Rows that are enough to measure the loss on: of more rows not every inner fold has its turn."""


def list_left_out(inner_folds: Sequence[InnerFolds | None]) -> list[Mask]:
    """Masks `(n,)` of rows to be left out in turn, the rows of all folds one below the other.

    `inner_folds` are those of each fold; none where one of them cannot be cut.
    """
    known = [own for own in inner_folds if own is not None]
    if len(known) < len(inner_folds):
        return []
    inner = np.concatenate(known)
    left_out = [inner == one for one in np.unique(inner)]
    return left_out[: max(2, math.ceil(LEFT_OUT / len(inner) * len(left_out)))]


def pick_rounds(losses: Sequence[Floats], doubted: bool) -> int:
    """The round with the lowest mean loss, 0 for none.

    `losses`: of each round, beginning with none, those of each of the left-out parts `(k,)`. If
    `doubted`, none where the loss falls by no more than its standard error over the parts.
    """
    best = int(np.argmin(np.mean(losses, axis=1)))
    gains = losses[0] - losses[best]
    if doubted and gains.mean() <= gains.std(ddof=1) / np.sqrt(len(gains)):
        return 0
    return best


def follow_steps(steps: Sequence[Options], rounds: Sequence[int]) -> Callable[..., Any]:
    """A callback of LightGBM that sets the options of each step for so many rounds of it."""
    each = {name: np.repeat([step[name] for step in steps], rounds).tolist() for name in steps[0]}
    return lightgbm.reset_parameter(**each)
