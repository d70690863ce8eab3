"""The calibration line: intercept and slope of labels on log-odds, and whether 0 and 1 hold.

Slope 1 and intercept 0 where probabilities hold (Cox, Biometrika 45, 1958). Each is judged by how
likely the labels are under the promise itself: errors at the fitted line shrink to nothing where a
detector errs on a few rows, and the line is infinitely steep where it errs on none.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, stdtrit, xlogy

from features.core.auc import LEVEL
from features.core.manifest import Ids
from stage2_ensemble.columns.columns import Floats, Labels

STEPS = 50
DRAWS = 400
EXACT = 1e-9
ROUGH = 1e-3
"""By what part of its first step a bound may be off."""
PROMISED = {"intercept": 0.0, "slope": 1.0}


@dataclass(frozen=True)
class LinePart:
    """Intercept or slope; `None` where the likeliest line is infinitely steep."""

    value: float | None
    low: float | None
    high: float | None
    """Bounds need two groups."""
    holds: bool
    """It is not shown to be another than the promised one."""


def judge_line(
    labels: Labels, log_odds: Floats, groups: Ids, draws: int = DRAWS, seed: int = 0
) -> dict[str, LinePart]:
    """`intercept` and `slope` of `(n,)` rows of both classes, with intervals at 95 %.

    Intervals are of the profile likelihood. Dependent rows count as so many independent ones as
    residuals of groups say (Liang and Zeger, Biometrika 73, 1986), never as more than there are;
    where scores part the classes without a fault no residual tells, and groups count as one row
    each. With few faults such a likelihood is too sure of itself: what it doubts must be rare among
    labels drawn from the promise, too.
    """
    numbers = np.unique(groups, return_inverse=True)[1]
    count = int(numbers.max()) + 1
    allowed = float(stdtrit(count - 1, (1 + LEVEL) / 2)) ** 2 / 2 if count > 1 else np.inf
    line = _part_classes(labels, log_odds, numbers) or _fit_line(labels, log_odds, numbers)
    ones = np.ones(len(labels))
    profiles = _Profile(labels, ones, log_odds), _Profile(labels, log_odds, ones)
    found = {}
    for profile, worth, place, (name, promised) in zip(
        profiles, line.worths, line.places, PROMISED.items(), strict=True
    ):
        level = line.best - allowed * float(worth)
        holds = profile.measure(promised) >= level
        low = high = None
        if place and count > 1:
            low, high = (profile.find_bound(*place, side, level) for side in (-2, 2))
        if not holds and profile.is_likely(promised, draws, seed):
            holds = True
            low = None if low is None else min(low, promised)
            high = None if high is None else max(high, promised)
        found[name] = LinePart(place[0] if place else None, low, high, holds)
    return found


@dataclass(frozen=True)
class _Line:
    """The likeliest line; pairs are of intercept and slope."""

    best: float
    """Its log-likelihood."""
    worths: tuple[float, float]
    """How many dependent rows count as one."""
    places: tuple[tuple[float, float] | None, tuple[float, float] | None]
    """Values and their errors; `None` where it is infinitely steep."""


def _part_classes(labels: Labels, log_odds: Floats, numbers: Ids) -> _Line | None:
    """An infinitely steep line, where that is the likeliest."""
    reals, fakes = log_odds[labels == 0], log_odds[labels == 1]
    if reals.max() <= fakes.min():
        edge = reals.max()
    elif fakes.max() <= reals.min():
        edge = fakes.max()
    else:
        return None
    tied = [int((rows == edge).sum()) for rows in (reals, fakes)]
    best = float(sum(xlogy(rows, rows / sum(tied)) for rows in tied))
    worth = float((np.bincount(numbers) ** 2).sum() / len(labels))
    return _Line(best, (worth, worth), (None, None))


def _fit_line(labels: Labels, log_odds: Floats, numbers: Ids) -> _Line:
    middle, scale = log_odds.mean(), log_odds.std()
    design = np.column_stack([np.ones(len(labels)), (log_odds - middle) / scale])
    fitted, best = _fit(labels, design, np.zeros(len(labels)), np.zeros(2))
    back = np.array([[1, -middle / scale], [0, 1 / scale]])
    chance = expit(design @ fitted)
    inverse = np.linalg.pinv((design * (chance * (1 - chance))[:, None]).T @ design)
    pulls = design * (labels - chance)[:, None] @ inverse @ back.T
    sums = np.stack([np.bincount(numbers, column) for column in pulls.T], axis=1)
    robust = (sums**2).sum(axis=0) * len(sums) / max(len(sums) - 1, 1)
    alone = np.diag(back @ inverse @ back.T)
    worths = np.maximum(1, robust / np.minimum(alone, (pulls**2).sum(axis=0)))
    values, errors = (back @ fitted).tolist(), np.sqrt(alone * worths).tolist()
    first, second = zip(values, errors, strict=True)
    return _Line(best, (float(worths[0]), float(worths[1])), (first, second))


def _fit(labels: Labels, design: Floats, offset: Floats, start: Floats) -> tuple[Floats, float]:
    """Logistic regression by Newton's steps: `(k,)` coefficients and their log-likelihood."""
    signs = 1.0 - 2.0 * labels

    def measure(coefficients: Floats) -> float:
        return -float(np.logaddexp(0, signs * (offset + design @ coefficients)).sum())

    found, best = start, measure(start)
    for _ in range(STEPS):
        chance = expit(offset + design @ found)
        rise = design.T @ (labels - chance)
        weights = np.maximum(chance * (1 - chance), EXACT)
        step = np.linalg.pinv((design * weights[:, None]).T @ design) @ rise
        hoped = float(rise @ step)  # twice what a parabola gains
        if hoped < EXACT:
            break
        part = 1.0
        while (reached := measure(found + part * step)) < best + part * hoped / 10:
            part /= 2
            if part < EXACT:
                return found, best
        found, best = found + part * step, reached
    return found, best


class _Profile:
    """How likely labels are by one part of the line, with the likeliest other one."""

    def __init__(self, labels: Labels, fixed: Floats, free: Floats) -> None:
        """`fixed` and `free`: what the part, and the other one, are factors of; `(n,)` each."""
        self._labels, self._fixed, self._free = labels, fixed, free
        self._other = np.zeros(1)

    def measure(self, value: float) -> float:
        """The log-likelihood."""
        offset = value * self._fixed
        self._other, best = _fit(self._labels, self._free[:, None], offset, self._other)
        return best

    def find_bound(self, value: float, error: float, side: int, level: float) -> float | None:
        """Where it falls to `level` on one side of the likeliest value; `None` if nowhere."""
        step = side * error
        for _ in range(STEPS):
            if self.measure(value + step) < level:
                near = ROUGH * abs(step)
                end = value + step
                return float(brentq(lambda at: self.measure(at) - level, value, end, xtol=near))
            step *= 2
        return None

    def is_likely(self, value: float, draws: int, seed: int) -> bool:
        """The score of `value` lies among those of independent labels drawn from it."""
        self.measure(value)
        chance = expit(value * self._fixed + self._other[0] * self._free)
        weights = chance * (1 - chance)
        total = max(float(weights @ self._free**2), EXACT)
        pull = self._fixed - self._free * float((weights * self._fixed) @ self._free) / total
        rng = np.random.default_rng(seed)
        drawn = [float(pull[rng.random(len(chance)) < chance].sum()) for _ in range(draws)]
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        slack = EXACT * float(np.abs(pull).sum())
        return bool(low - slack <= float(pull @ self._labels) <= high + slack)
