"""Shares of rows with intervals, where rows of a group depend on each other."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from features.core.auc import LEVEL
from features.core.manifest import Ids
from stage2_ensemble.columns.columns import Floats


@dataclass(frozen=True)
class Share:
    """A share of rows; `None` where there is no row. Bounds need two groups."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def to_json(self) -> dict[str, float | None]:
        """As it stands in JSON files."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(**values)


def estimate_share(
    hits: npt.NDArray[np.bool_], groups: Ids, weights: Floats | None = None, level: float = LEVEL
) -> Share:
    """Weighted share of the `(n,)` rows that are hits, with Wilson's interval (JASA 22, 1927).

    Dependent rows count as so many independent ones as the variance between groups says (Korn and
    Graubard, Survey Methodology 24, 1998), with Student's quantile for few groups. Where all rows
    or none are hits the groups themselves count: there is no variance to be seen.
    """
    if not len(hits):
        return Share(None)
    worth = np.ones(len(hits)) if weights is None else weights / weights.mean()
    value = _measure_share(hits, worth)
    numbers = np.unique(groups, return_inverse=True)[1]
    count = int(numbers.max()) + 1
    if count < 2:
        return Share(value)
    sums = np.bincount(numbers, (hits - value) * worth)
    variance = float(sums @ sums / worth.sum() ** 2 * count / (count - 1))
    if value in (0, 1) or not variance:
        rows = _count_worth(np.bincount(numbers, worth).astype(np.float64))
    else:
        rows = float(np.clip(value * (1 - value) / variance, 1, _count_worth(worth)))
    return Share(value, *_find_wilson(value, rows, float(stdtrit(count - 1, (1 + level) / 2))))


def _measure_share(hits: npt.NDArray[np.bool_], worth: Floats) -> float:
    """1 where all rows that weigh anything are hits, 0 where none is, else between them.

    Sums of weights are rounded, so their ratio may lie beside 1 where it is 1.
    """
    known = hits[worth > 0]
    if known.all():
        return 1.0
    if not known.any():
        return 0.0
    return float(np.clip(hits @ worth / worth.sum(), np.nextafter(0, 1), np.nextafter(1, 0)))


def _count_worth(weights: Floats) -> float:
    """Of how many equal rows unequal ones are worth (Kish, Survey Sampling, 1965)."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def _find_wilson(share: float, rows: float, quantile: float) -> tuple[float, float]:
    spread = quantile**2 / rows
    middle = (share + spread / 2) / (1 + spread)
    half = np.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))
