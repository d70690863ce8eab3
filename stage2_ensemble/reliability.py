"""Whether probabilities hold: what was said against what happened, bin by bin."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from stage2_ensemble.columns import Floats, Labels

BINS = 15


@dataclass(frozen=True)
class Reliability:
    """Bins of equal mass, from the lowest scores to the highest; `(b,)` each."""

    mass: Floats
    """Share of all weight; bins are unequal only where rows of equal score stay together."""
    predicted: Floats
    """Mean probability of fake."""
    observed: Floats
    """Share of fakes."""

    @property
    def ece(self) -> float:
        """Expected calibration error: mean distance of `predicted` and `observed`.

        `metrics.measure_ece`, where all rows weigh the same. Chance alone makes it larger than 0.
        """
        return float(self.mass @ np.abs(self.predicted - self.observed))

    def to_rows(self) -> list[dict[str, float]]:
        """One mapping a bin, as for tables and plots."""
        columns = zip(self.mass, self.predicted, self.observed, strict=True)
        names = ("mass", "predicted", "observed")
        return [dict(zip(names, map(float, values), strict=True)) for values in columns]


def tabulate_reliability(
    labels: Labels, log_odds: Floats, weights: Floats | None = None, bins: int = BINS
) -> Reliability:
    """Reliability of `(n,)` log-odds; rows of equal score are never parted, whatever their order.

    Equal-mass bins: Nixon et al., "Measuring calibration in deep learning", CVPR workshops 2019.
    """
    worth = np.ones(len(labels)) if weights is None else weights
    numbers = np.unique(log_odds, return_inverse=True)[1]
    mass = np.bincount(numbers, worth)
    middles = (np.cumsum(mass) - mass / 2) / mass.sum()
    places = np.minimum((middles * bins).astype(np.int64), bins - 1)[numbers]
    mass = np.bincount(places, worth)
    held = mass > 0
    sums = (np.bincount(places, worth * v)[held] for v in (expit(log_odds), labels))
    predicted, observed = (total / mass[held] for total in sums)
    return Reliability(mass[held] / mass.sum(), predicted, observed)


def compare_reliability(
    labels: Labels, before: Floats, after: Floats, weights: Floats | None = None
) -> dict[str, Reliability]:
    """`before` and `after`: the same `(n,)` rows under two sets of log-odds."""
    pairs = {"before": before, "after": after}
    return {name: tabulate_reliability(labels, odds, weights) for name, odds in pairs.items()}
