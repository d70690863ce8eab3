"""Strictly increasing maps from log-odds to log-odds that make probabilities hold.

None of them changes an AUC. In floats they may tie scores that differ in their last digits, so
metrics of order belong to the scores before. The interface is that of combiners: the constructor
only stores, `fit` sets attributes that end in `_`.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from scipy.special import expit, logit

from stage2_ensemble.columns.columns import Floats, Labels

LEAST_SLOPE = 1e-3
"""Of a fitted line, with scores in units of their spread: order is kept even where it misleads."""
TILT = 1e-3
"""Slope of the isotonic map beyond its knots, by the scores' spread: rows there are not tied."""


class Calibrator(Protocol):
    """Log-odds `(n,)` into log-odds `(n,)`."""

    name: ClassVar[str]

    def fit(self, log_odds: Floats, labels: Labels, weights: Floats) -> Self:
        """Learns from rows that no model was fitted on; the scale of `weights` does not matter."""

    def apply(self, log_odds: Floats) -> Floats:
        """`(n,)` calibrated log-odds at the class shares, weighted, of the rows of `fit`."""

    def to_json(self) -> dict[str, Any]:
        """What `fit` learned."""

    @classmethod
    def from_json(cls, learned: Mapping[str, Any]) -> Self:
        """The calibrator that `to_json` described."""


class Identity:
    """Leaves log-odds as they are."""

    name: ClassVar[str] = "identity"

    def fit(self, log_odds: Floats, labels: Labels, weights: Floats) -> Self:
        """Does nothing."""
        return self

    def apply(self, log_odds: Floats) -> Floats:
        """What it is given."""
        return log_odds

    def to_json(self) -> dict[str, Any]:
        """Nothing is learned."""
        return {}

    @classmethod
    def from_json(cls, learned: Mapping[str, Any]) -> Self:
        """Nothing is learned."""
        return cls()


class Temperature:
    """Log-odds by one number (Guo et al., "On calibration of modern neural networks", ICML 2017).

    As scikit-learn's `CalibratedClassifierCV(method="temperature")`, which comes with 1.8, but
    finite on separable rows, as Platt's method is.
    """

    name: ClassVar[str] = "temperature"
    temperature_: float

    def fit(self, log_odds: Floats, labels: Labels, weights: Floats) -> Self:
        """Minimises the log loss."""
        log_odds, labels, weights = _weigh(log_odds, labels, weights)
        scale = float(np.sqrt(np.mean(log_odds**2))) or 1.0
        slope, _ = _fit_line(log_odds / scale, labels, weights, with_intercept=False)
        self.temperature_ = scale / slope
        return self

    def apply(self, log_odds: Floats) -> Floats:
        """Log-odds by temperature."""
        return log_odds / self.temperature_

    def to_json(self) -> dict[str, Any]:
        """The temperature."""
        return {"temperature": self.temperature_}

    @classmethod
    def from_json(cls, learned: Mapping[str, Any]) -> Self:
        """From the temperature."""
        calibrator = cls()
        calibrator.temperature_ = learned["temperature"]
        return calibrator


class Platt:
    """A line in log-odds (Platt, "Probabilistic outputs for support vector machines", 1999)."""

    name: ClassVar[str] = "platt"
    slope_: float
    intercept_: float

    def fit(self, log_odds: Floats, labels: Labels, weights: Floats) -> Self:
        """Minimises the log loss."""
        log_odds, labels, weights = _weigh(log_odds, labels, weights)
        middle, scale = float(np.mean(log_odds)), float(np.std(log_odds)) or 1.0
        standard = (log_odds - middle) / scale
        slope, intercept = _fit_line(standard, labels, weights, with_intercept=True)
        self.slope_ = slope / scale
        self.intercept_ = intercept - self.slope_ * middle
        return self

    def apply(self, log_odds: Floats) -> Floats:
        """The line."""
        return np.asarray(self.slope_ * log_odds + self.intercept_)

    def to_json(self) -> dict[str, Any]:
        """Slope and intercept."""
        return {"slope": self.slope_, "intercept": self.intercept_}

    @classmethod
    def from_json(cls, learned: Mapping[str, Any]) -> Self:
        """From slope and intercept."""
        calibrator = cls()
        calibrator.slope_, calibrator.intercept_ = learned["slope"], learned["intercept"]
        return calibrator


class Isotonic:
    """Isotonic regression made strictly increasing (Zadrozny and Elkan, KDD 2002).

    Its blocks of equal probability become knots: a block's mean score against the log-odds of
    (fakes + 1) / (rows + 2), which is finite. Lines join the knots; beyond them it all but stays.
    """

    name: ClassVar[str] = "isotonic"
    scores_: Floats
    odds_: Floats
    spread_: float

    def fit(self, log_odds: Floats, labels: Labels, weights: Floats) -> Self:
        """Finds the blocks, smooths them, and joins those that smoothing put out of order."""
        from sklearn.isotonic import IsotonicRegression  # late: applying it does without

        log_odds, labels, weights = _weigh(log_odds, labels, weights)
        steps = IsotonicRegression().fit_transform(log_odds, labels, sample_weight=weights)
        rows, fakes, scores = _sum_blocks(steps, weights, labels, log_odds)
        smooth = (fakes + 1) / (rows + 2)
        order = np.arange(len(rows))
        steps = IsotonicRegression().fit_transform(order, smooth, sample_weight=rows + 2)
        rows, scores, odds = _sum_blocks(steps, rows, scores / rows, logit(steps))
        self.scores_, self.odds_ = scores / rows, odds / rows
        self.spread_ = float(np.std(log_odds)) or 1.0
        return self

    def apply(self, log_odds: Floats) -> Floats:
        """Between the knots by interpolation."""
        beyond = log_odds - np.clip(log_odds, self.scores_[0], self.scores_[-1])
        tilt = TILT * beyond / self.spread_
        return np.asarray(np.interp(log_odds, self.scores_, self.odds_) + tilt)

    def to_json(self) -> dict[str, Any]:
        """The knots, and the spread of the scores."""
        knots = {"scores": self.scores_.tolist(), "odds": self.odds_.tolist()}
        return {**knots, "spread": self.spread_}

    @classmethod
    def from_json(cls, learned: Mapping[str, Any]) -> Self:
        """From the knots."""
        calibrator = cls()
        calibrator.scores_ = np.asarray(learned["scores"], np.float64)
        calibrator.odds_ = np.asarray(learned["odds"], np.float64)
        calibrator.spread_ = learned["spread"]
        return calibrator


CALIBRATORS: dict[str, type[Calibrator]] = {
    kind.name: kind for kind in (Identity, Temperature, Platt, Isotonic)
}
"""From simple to complex."""


def _weigh(log_odds: Floats, labels: Labels, weights: Floats) -> tuple[Floats, Labels, Floats]:
    """The rows that have a weight, these having mean 1."""
    counted = weights > 0
    return log_odds[counted], labels[counted], weights[counted] / weights[counted].mean()


def _fit_line(
    scores: Floats, labels: Labels, weights: Floats, *, with_intercept: bool
) -> tuple[float, float]:
    """Slope, above 0, and intercept with the least log loss against Platt's softened labels."""
    targets = _soften(labels, weights)
    weights = weights / weights.sum()

    def find_loss(line: Floats) -> tuple[float, Floats]:
        odds = line[0] * scores + line[1]
        residuals = weights * (expit(odds) - targets)
        loss = weights @ (np.logaddexp(0, odds) - targets * odds)
        return float(loss), np.array([residuals @ scores, residuals.sum()])

    bounds = [(LEAST_SLOPE, None), (None, None) if with_intercept else (0.0, 0.0)]
    options = {"ftol": 1e-14, "gtol": 1e-9}
    from scipy.optimize import minimize  # late: half a second that applying does without

    found = minimize(find_loss, np.array([1.0, 0.0]), jac=True, bounds=bounds, options=options)
    return float(found.x[0]), float(found.x[1])


def _soften(labels: Labels, weights: Floats) -> Floats:
    """`(n,)` targets a little inside 0 and 1, so that separable rows give a finite slope."""
    reals, fakes = (float(weights[labels == label].sum()) for label in (0, 1))
    return np.where(labels == 1, (fakes + 1) / (fakes + 2), 1 / (reals + 2))


def _sum_blocks(steps: Floats, weights: Floats, *values: Floats | Labels) -> tuple[Floats, ...]:
    """For each distinct step: the weight, and the weighted sum of each of the values."""
    places = np.unique(steps, return_inverse=True)[1]
    sums = [np.bincount(places, weights)] + [np.bincount(places, weights * v) for v in values]
    return tuple(total.astype(np.float64) for total in sums)
