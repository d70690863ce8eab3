"""Rows with a score, and what may be done with them: types hold val and test rows apart.

Everything that is fitted or chosen on scores takes `ChoiceRows`; nothing can be on `ValRows`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from features.core.manifest import Ids, count_classes
from features.errors import LeakageError
from stage2_ensemble.columns.columns import Floats, Labels
from stage2_ensemble.measures.resampling import draw_counts


@dataclass(frozen=True, kw_only=True)
class RowScores:
    """`n` rows that can be read, with log-odds of fake at the class shares of train."""

    row_ids: Ids
    log_odds: Floats
    groups: Ids
    """Rows of a group may depend on each other."""

    def __post_init__(self) -> None:
        shapes = {name: np.shape(value) for name, value in vars(self).items()}
        if set(shapes.values()) != {(len(self.row_ids),)}:
            raise ValueError(f"the arrays must be of one length: {shapes}")
        if not np.isfinite(self.log_odds).all():
            raise ValueError("log-odds must be finite")

    def __len__(self) -> int:
        return len(self.row_ids)

    def with_log_odds(self, log_odds: Floats) -> Self:
        """The same rows with other scores `(n,)`."""
        return replace(self, log_odds=log_odds)


@dataclass(frozen=True, kw_only=True)
class LabelledRows(RowScores):
    """`labels` `(n,)`: 1 fake, 0 real; rows of both."""

    labels: Labels

    def __post_init__(self) -> None:
        super().__post_init__()
        reals, fakes = count_classes(self.labels)
        if not reals or not fakes or reals + fakes != len(self):
            raise ValueError(f"{len(self)} rows hold {reals} reals and {fakes} fakes")


@dataclass(frozen=True, kw_only=True)
class ValRows(LabelledRows):
    """Rows to measure on. Nothing is fitted or chosen on them."""


@dataclass(frozen=True, kw_only=True)
class ChoiceRows(LabelledRows):
    """Rows of train with scores of models that did not learn from them, and `weights` `(n,)`.

    Calibration rows with the ensemble's own scores, or fold rows with inner out-of-fold scores.
    """

    weights: Floats

    def __post_init__(self) -> None:
        super().__post_init__()
        if not np.isfinite(self.weights).all() or (self.weights < 0).any():
            raise ValueError("weights must be finite and not negative")
        if not all(self.weights[self.labels == label].sum() > 0 for label in (0, 1)):
            raise ValueError("rows of both classes must weigh something")

    @property
    def prior(self) -> float:
        """Weighted share of fakes."""
        return float(self.weights[self.labels == 1].sum() / self.weights.sum())

    def at_prior(self, prior: float) -> Self:
        """Weights such that the share of fakes is `prior`; their mean is 1."""
        is_fake = self.labels == 1
        factors = np.where(is_fake, prior / self.prior, (1 - prior) / (1 - self.prior))
        weights = self.weights * factors
        return replace(self, weights=weights / weights.mean())


def check_choosable(rows: LabelledRows) -> None:
    """Raises `LeakageError` for rows that nothing may be fitted or chosen on."""
    if not isinstance(rows, ChoiceRows):
        raise LeakageError(f"something would be chosen on {type(rows).__name__}", rows.row_ids)


def resample_groups(groups: Ids, draws: int, seed: int) -> Iterator[Floats]:
    """`draws` times: how often each of the `(n,)` rows stands in a bootstrap sample of groups."""
    known, numbers = np.unique(groups, return_inverse=True)
    for counts in draw_counts(len(known), draws, 1, seed):
        yield counts[0, numbers].astype(np.float64)
