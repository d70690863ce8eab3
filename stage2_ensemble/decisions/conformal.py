"""An optional band of log-odds that is left to a person, with a promise for each class.

Class-conditional split conformal prediction (Vovk, Gammerman and Shafer, "Algorithmic learning in a
random world", 2005; Sadinle, Lei and Wasserman, JASA 114, 2019): whatever the scores are, at most
`alpha` of reals are called fake and at most `alpha` of fakes are called real, so long as rows to be
labelled come like those that the band was fitted on. It says nothing about errors among decided
rows, whose share depends on the class shares.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from features.core.manifest import Ids
from features.errors import ConfigError
from stage2_ensemble.columns.columns import Floats, Mask
from stage2_ensemble.decisions.scored_rows import ChoiceRows, check_choosable
from stage2_ensemble.measures.shares import Share, estimate_share

REAL, FAKE, REVIEW = "real", "fake", "review"
ROUNDING = 1e-9


@dataclass(frozen=True)
class Band:
    """Two thresholds of log-odds at the class shares of train."""

    alpha: float
    fake_from: float
    """A row may be fake from here on."""
    real_until: float
    """A row may be real up to here. It may lie above or below `fake_from`."""
    fakes: int
    """Groups that each threshold rests on."""
    reals: int
    reviewed_fakes: Share
    """Share of rows left open among those that it was fitted on."""
    reviewed_reals: Share

    def find_sets(self, log_odds: Floats) -> tuple[Mask, Mask]:
        """`(n,)` masks: which rows may be real, and which may be fake."""
        return log_odds <= self.real_until, log_odds >= self.fake_from

    def decide(self, log_odds: Floats) -> npt.NDArray[np.str_]:
        """`(n,)` `real`, `fake`, or `review` where both may be or neither."""
        may_be_real, may_be_fake = self.find_sets(log_odds)
        decided = np.where(may_be_fake, FAKE, REAL)
        return np.where(may_be_real == may_be_fake, REVIEW, decided)

    def to_json(self) -> dict[str, Any]:
        """Everything."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        names = ("reviewed_fakes", "reviewed_reals")
        return cls(**{**values, **{name: Share.from_json(values[name]) for name in names}})


def fit_band(rows: ChoiceRows, alpha: float) -> Band:
    """The band for `decision.review`; `0 < alpha < 0.5`. Row weights play no part.

    Rows of a group depend on each other, while conformal prediction needs exchangeable ones. So the
    unit is a group, standing for its rows of a class by the one that is nearest to the wrong label:
    at most `alpha` of new groups hold any row of that class with a wrong label. That is at least
    what is promised for a row of a group, and cautious; it is exact for single rows.

    Raises `ConfigError` with fewer than 1 / `alpha` groups of a class.
    """
    check_choosable(rows)
    fakes = _find_extremes(rows.log_odds, rows.groups, rows.labels == 1)
    reals = _find_extremes(-rows.log_odds, rows.groups, rows.labels == 0)
    problems = [
        f"review {alpha:g} needs {1 / alpha:.0f} groups of {name}, the rows hold {len(found)}"
        for name, found in (("reals", reals), ("fakes", fakes))
        if len(found) < 1 / alpha - ROUNDING
    ]
    if problems:
        advice = "Raise decision.review, set it to null, or use more data or folds."
        raise ConfigError("decision.review", problems, advice)
    fake_from, real_until = _find_rank(fakes, alpha), -_find_rank(reals, alpha)
    band = Band(alpha, fake_from, real_until, len(fakes), len(reals), Share(None), Share(None))
    is_open = band.decide(rows.log_odds) == REVIEW
    of_fakes, of_reals = (
        estimate_share(is_open[of_class], rows.groups[of_class])
        for of_class in (rows.labels == 1, rows.labels == 0)
    )
    return replace(band, reviewed_fakes=of_fakes, reviewed_reals=of_reals)


def _find_extremes(scores: Floats, groups: Ids, of_class: Mask) -> Floats:
    """The lowest score of each group's `of_class` rows, in ascending order."""
    known, numbers = np.unique(groups[of_class], return_inverse=True)
    lowest = np.full(len(known), np.inf)
    np.minimum.at(lowest, numbers, scores[of_class])
    return np.sort(lowest)


def _find_rank(lowest: Floats, alpha: float) -> float:
    """The k-th lowest of n scores, k = floor(alpha (n + 1)): `count_allowed`.

    A new score is below it, rather than at it, with probability k / (n + 1) at most; ties make that
    less.
    """
    return float(lowest[count_allowed(len(lowest), alpha) - 1])


def count_allowed(groups: int, alpha: float) -> int:
    """k: the error of a band on new groups of a class is Beta(k, n + 1 - k), k / (n + 1) on average
    (Vovk, "Conditional validity of inductive conformal predictors", 2012).
    """
    return int(np.floor(alpha * (groups + 1) + ROUNDING))
