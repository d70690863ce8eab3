"""The share of fakes among rows to be labelled, where it may differ from that of train.

Everything here assumes pure label shift: fakes look like the fakes of train and reals like its
reals, only their shares differ. Two estimates that break in different ways when that is wrong have
to agree. What both miss: fakes that look exactly like reals (of a new generator, say) count as
reals, whatever one does with scores alone.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np
from scipy.special import expit, logit

from features.core.auc import LEVEL
from features.core.number_text import format_figure
from stage2_ensemble.columns.columns import Floats
from stage2_ensemble.decisions.calibrators import Platt
from stage2_ensemble.decisions.scored_rows import (
    ChoiceRows,
    RowScores,
    check_choosable,
    resample_groups,
)

LEAST_ROWS = 500
DRAWS = 400
EDGE = 1e-6
"""A share as near as this to 0 or 1 is 0 or 1."""


@dataclass(frozen=True)
class Prior:
    """The share of fakes that probabilities assume, and how it came about."""

    value: float
    train: float
    """Share of fakes in train: where log-odds come from."""
    source: Literal["train", "given", "estimate"]
    reason: str
    em: float | None = None
    """Of the highest likelihood, with its interval."""
    em_low: float | None = None
    em_high: float | None = None
    confusion: float | None = None
    """From the confusion matrix. It may lie outside 0 … 1."""
    difference_low: float | None = None
    """Interval of the confusion matrix's estimate minus that of the highest likelihood."""
    difference_high: float | None = None

    def apply(self, log_odds: Floats) -> Floats:
        """Log-odds at the share `value`, from those at train's; their order stays."""
        return np.asarray(log_odds + (logit(self.value) - logit(self.train)))

    def to_json(self) -> dict[str, Any]:
        """Everything."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(**values)


def keep_train(train: float) -> Prior:
    """For `label.prior: train`."""
    return Prior(train, train, "train", "label.prior is train")


def use_given(value: float, train: float) -> Prior:
    """For a number in `label.prior`."""
    return Prior(value, train, "given", f"label.prior is {value:g}")


def estimate_prior(
    rows: RowScores, held_out: ChoiceRows, train: float, draws: int = DRAWS, seed: int = 0
) -> Prior:
    """For `label.prior: estimate`: the share of fakes in `rows`, by their log-odds alone.

    `rows` that could not be read must not be among them. Both have calibrated log-odds at the share
    `train`; `held_out` are rows of train whose labels are known, best with the log-odds of
    `cross_calibrate`: on its own rows isotonic regression looks better than it is. A line fitted on
    `held_out` takes away what is still wrong with the level and the slope, which the likelihood is
    sensitive to (Alexandari, Kundaje and Shrikumar, ICML 2020).

    It keeps `train`, and says why, with too few rows, with an estimate of 0 or 1, or where the two
    estimates disagree: where the interval of their difference does not hold 0. (Whether one lies in
    the interval of the other is a much weaker test: they err alike on the same rows.) The bootstrap
    draws groups of both `rows` and `held_out`; the latter move the confusion matrix, and the line.
    """
    check_choosable(held_out)
    if len(rows) < LEAST_ROWS:
        reason = f"{len(rows)} rows can be read; an estimate needs {LEAST_ROWS}"
        return Prior(train, train, "train", reason)
    held_out = held_out.at_prior(train)
    line = Platt().fit(held_out.log_odds, held_out.labels, held_out.weights)
    rows = rows.with_log_odds(line.apply(rows.log_odds))
    held_out = held_out.with_log_odds(line.apply(held_out.log_odds))
    ones = np.ones(len(rows))
    em = maximise_likelihood(rows.log_odds, ones, train)
    confusion = invert_confusion(rows.log_odds, ones, held_out, held_out.weights, train)
    if confusion is None:
        reason = "the scores do not tell fakes from reals among the held-out rows"
        return Prior(train, train, "train", reason, em)
    draws_of_em, draws_of_confusion = _draw_estimates(rows, held_out, train, draws, seed)
    tails = [50 * (1 - LEVEL), 50 * (1 + LEVEL)]
    bounds = np.percentile(draws_of_em, tails)
    gaps = np.percentile(draws_of_confusion - draws_of_em, tails)
    reason = _find_refusal(em, confusion, gaps)
    value = train if reason else em
    source: Literal["train", "estimate"] = "train" if reason else "estimate"
    reason = reason or f"{len(rows)} rows; both estimates agree"
    numbers = map(float, (em, *bounds, confusion, *gaps))
    return Prior(value, train, source, reason, *numbers)


def _find_refusal(em: float, confusion: float, gaps: Floats) -> str:
    """Why an estimate is not used; empty if it is."""
    if em in (0, 1):
        return f"the estimate ends at {em:g}: no row looks like a {'fake' if em == 0 else 'real'}"
    if not gaps[0] <= 0 <= gaps[1]:
        return (
            f"two estimates disagree, {format_figure(em)} by likelihood and "
            f"{format_figure(confusion)} by the confusion matrix: "
            "more than the class shares has changed"
        )
    return ""


def maximise_likelihood(log_odds: Floats, weights: Floats, train: float) -> float:
    """Share of fakes of the highest likelihood, given `(n,)` log-odds at the share `train`.

    It is where the EM of Saerens, Latinne and Decaestecker (Neural Computation 14, 2002) ends: the
    share that equals the mean probability under itself. The likelihood is concave, so a root of its
    slope is found at once, and an end at 0 or 1, which EM creeps to, is always seen.
    """
    odds = log_odds - logit(train)
    fake, real = expit(odds), expit(-odds)

    def find_slope(share: float) -> float:
        return float(weights @ ((fake - real) / (share * fake + (1 - share) * real)))

    if find_slope(EDGE) <= 0:
        return 0.0
    if find_slope(1 - EDGE) >= 0:
        return 1.0
    from scipy.optimize import brentq  # late: half a second that applying does without

    return float(brentq(find_slope, EDGE, 1 - EDGE, xtol=1e-9))


def invert_confusion(
    log_odds: Floats, weights: Floats, held_out: ChoiceRows, held_weights: Floats, train: float
) -> float | None:
    """(share called fake - FPR) / (TPR - FPR), the rates being those of the held-out rows.

    Black-box shift estimation (Lipton, Wang and Smola, ICML 2018; the count is older: Gart and
    Buck, American Journal of Epidemiology 83, 1966). A row is called fake where it is likelier
    under fake than under real, at log-odds `logit(train)`: no threshold is chosen. `None` where TPR
    is not above FPR, or a class weighs nothing.
    """
    threshold = logit(train)
    called = float(np.average(log_odds >= threshold, weights=weights))
    rates = []
    for label in (0, 1):
        worth = held_weights * (held_out.labels == label)
        if not worth.sum():
            return None
        rates.append(float(np.average(held_out.log_odds >= threshold, weights=worth)))
    fpr, tpr = rates
    return (called - fpr) / (tpr - fpr) if tpr > fpr else None


def _draw_estimates(
    rows: RowScores, held_out: ChoiceRows, train: float, draws: int, seed: int
) -> tuple[Floats, Floats]:
    """Both estimates `(d,)` in bootstrap samples; samples that allow none are left out.

    The line that calibrates held-out rows is not fitted anew to each sample but follows it by one
    Newton step of the logistic regression of their labels.
    """
    design = np.column_stack([np.ones(len(held_out)), held_out.log_odds])
    chance = expit(held_out.log_odds)
    curvature = (design * (held_out.weights * chance * (1 - chance))[:, None]).T @ design
    pulls = design * (held_out.weights * (held_out.labels - chance))[:, None]
    steps = pulls @ np.linalg.pinv(curvature)
    found = []
    samples = zip(
        resample_groups(rows.groups, draws, seed),
        resample_groups(held_out.groups, draws, seed + 1),
        strict=True,
    )
    for counts, held_counts in samples:
        shift, tilt = (held_counts - 1) @ steps
        em = maximise_likelihood(rows.log_odds * (1 + tilt) + shift, counts, train)
        weights = held_out.weights * held_counts
        confusion = invert_confusion(rows.log_odds, counts, held_out, weights, train)
        if confusion is not None:
            found.append((em, confusion))
    ems, confusions = np.array(found).T
    return ems, confusions
