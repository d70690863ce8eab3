"""Scores that are not there: a detector from outside need not have scored every row.

NaN stands for them. Nothing here changes a row without any.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from stage2_ensemble.columns.columns import Floats

FLAT = 1e-6
"""A backbone whose scores deviate less says nothing."""


@dataclass(frozen=True)
class Standards:
    """Mean and standard deviation `(b,)` of each backbone's scores at the fit."""

    means: Floats
    scales: Floats

    @classmethod
    def measure(cls, logits: Floats) -> Self:
        """Of what is there of each column.

        A flat one has a scale of 1, one without any score also a mean of 0.
        """
        means, scales = logits.mean(axis=0), logits.std(axis=0)
        for place in np.flatnonzero(np.isnan(means)):
            known = logits[~np.isnan(logits[:, place]), place]
            means[place], scales[place] = (known.mean(), known.std()) if len(known) else (0.0, 0.0)
        # Else rounding becomes a huge coefficient.
        return cls(means, np.where(scales > FLAT, scales, 1.0))

    def fill(self, logits: Floats) -> Floats:
        """`(n, b)` with each gap as far from its column's mean as the row's others are on average.

        In standard deviations; in rows without any score, at the mean.
        """
        gaps = np.isnan(logits)
        if not gaps.any():
            return logits
        deviations = (logits - self.means) / self.scales
        shared = _average_known(deviations)[:, None]
        return np.where(gaps, self.means + self.scales * shared, logits)

    def to_json(self) -> dict[str, Any]:
        """Means and scales."""
        return {"means": list(map(float, self.means)), "scales": list(map(float, self.scales))}

    @classmethod
    def from_json(cls, learned: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(np.asarray(learned["means"]), np.asarray(learned["scales"]))


def _average_known(values: Floats) -> Floats:
    """`(n,)` means of what is there of each row; 0 where nothing is."""
    count = values.shape[1]
    return np.asarray(share_known(values, np.full(count, 1 / count)).sum(axis=1))


def share_known(values: Floats, weights: Floats) -> Floats:
    """`(n, b)` values times weights, which are shared out anew where some of a row are not there.

    If none that weighs anything is there, what is there weighs the same.
    """
    gaps = np.isnan(values)
    known = np.where(gaps, 0.0, weights)
    left = known.sum(axis=1, keepdims=True)
    known = np.where(left > 0, known, ~gaps)
    factors = weights.sum() / np.maximum(known.sum(axis=1, keepdims=True), FLAT)
    shared = np.where(gaps.any(axis=1, keepdims=True), known * factors, weights)
    return np.asarray(shared * np.where(gaps, 0.0, values))


def fill_gaps(scores: Floats, weighed: Floats) -> Floats:
    """`(n,)` scores, those of rows with gaps the sum of what is there."""
    return np.where(np.isnan(scores), weighed.sum(axis=1), scores)
