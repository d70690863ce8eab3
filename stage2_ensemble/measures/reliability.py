"""Whether probabilities hold: what was said against what happened, bin by bin."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from features.core.manifest import Ids
from stage2_ensemble.columns.columns import Floats, Labels

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

    def to_rows(self) -> list[dict[str, float]]:
        """One mapping a bin, as for tables and plots."""
        columns = zip(self.mass, self.predicted, self.observed, strict=True)
        names = ("mass", "predicted", "observed")
        return [dict(zip(names, map(float, values), strict=True)) for values in columns]


def find_bins(log_odds: Floats, weights: Floats | None = None) -> Ids:
    """`(n,)` bins 0 … 14 of equal mass, by score; rows of one score share theirs.

    Nixon et al., "Measuring calibration in deep learning", CVPR workshops 2019.
    """
    numbers = np.unique(log_odds, return_inverse=True)[1]
    mass = np.bincount(numbers, weights)
    middles = (np.cumsum(mass) - mass / 2) / mass.sum()
    places: Ids = np.minimum((middles * BINS).astype(np.int64), BINS - 1)
    return places[numbers]


def measure_ece(
    labels: Labels, log_odds: Floats, bins: Ids, weights: Floats | None = None
) -> float:
    """Expected calibration error: how far bins lie from their mean probability, by their mass.

    Chance moves it away from 0: with few rows a bin, log-odds that are right have one too.
    """
    worth = np.ones(len(labels)) if weights is None else weights
    residuals = np.bincount(bins, worth * (labels - expit(log_odds)))
    return float(np.abs(residuals).sum() / worth.sum())


def simulate_ece(log_odds: Floats, bins: Ids, draws: int, seed: int = 0) -> Floats:
    """`(draws,)` ECEs of independent labels drawn from `(n,)` log-odds, which are right so."""
    rng, chance = np.random.default_rng(seed), expit(log_odds)
    expected = np.bincount(bins, chance, minlength=BINS)
    fakes = (
        np.bincount(bins[rng.random(len(chance)) < chance], minlength=BINS) for _ in range(draws)
    )
    return np.array([np.abs(found - expected).sum() / len(chance) for found in fakes])


def tabulate_reliability(
    labels: Labels, log_odds: Floats, weights: Floats | None = None
) -> Reliability:
    """Reliability of `(n,)` log-odds in the bins of `find_bins`."""
    worth = np.ones(len(labels)) if weights is None else weights
    places = find_bins(log_odds, weights)
    mass = np.bincount(places, worth)
    filled = mass > 0
    sums = (np.bincount(places, worth * v)[filled] for v in (expit(log_odds), labels))
    predicted, observed = (total / mass[filled] for total in sums)
    return Reliability(mass[filled] / mass.sum(), predicted, observed)
