"""Pooled combiners: second-stage models on columns that mean the same in every fold.

Fitted once on the out-of-fold rows of all active folds, applied to each fold's members. The
interface is scikit-learn's: the constructor only stores, `fit` sets attributes that end in `_`.

A detector from outside may lack scores of some rows: NaN. Means are then of what is there, with its
weights; where one score cannot be left out, it is what the others of the row suggest
(`Standards.fill`). A row without any score gets 0. Without NaN none of this changes anything.
"""

from typing import Any, ClassVar, Protocol, Self

import numpy as np
from scipy.special import log_expit, logit, logsumexp

from features.core.auc import find_auc, rank_scores
from stage2_ensemble.columns.columns import Floats, Labels
from stage2_ensemble.models.gaps import Standards, fill_gaps, share_known

KNOTS = 1001
"""Quantiles kept of each backbone's scores."""
CHOICES = 20
"""Backbones that greedy selection takes, one after the other."""


class Combiner(Protocol):
    """Corrected logits `(n, b)` into one score `(n,)`, in log-odds of fake."""

    name: ClassVar[str]

    def fit(self, logits: Floats, labels: Labels, weights: Floats) -> Self:
        """Learns from out-of-fold rows: `labels` `(n,)` 0 real, 1 fake, `weights` `(n,)`."""

    def score(self, logits: Floats) -> Floats:
        """`(n,)` log-odds of fake."""

    def weigh(self, logits: Floats) -> Floats | None:
        """`(n, b)` what each backbone adds to the score; `None` for what is no sum of them."""

    def to_json(self) -> dict[str, Any]:
        """What `fit` learned."""

    @classmethod
    def from_json(cls, learned: dict[str, Any]) -> Self:
        """The combiner that `to_json` described."""


class Mean:
    """Mean of the backbones' log-odds; learns nothing."""

    name: ClassVar[str] = "mean"

    def fit(self, logits: Floats, labels: Labels, weights: Floats) -> Self:
        """Does nothing."""
        return self

    def score(self, logits: Floats) -> Floats:
        """`(n,)` mean over the backbones."""
        return fill_gaps(logits.mean(axis=1), self.weigh(logits))

    def weigh(self, logits: Floats) -> Floats:
        """See `Combiner`."""
        count = logits.shape[1]
        return share_known(logits, np.full(count, 1 / count))

    def to_json(self) -> dict[str, Any]:
        """Nothing is learned."""
        return {}

    @classmethod
    def from_json(cls, learned: dict[str, Any]) -> Self:
        """A mean is a mean."""
        return cls()


class RankMean:
    """Mean of each backbone's rank among the out-of-fold rows, as log-odds.

    Ranks come from stored quantiles, so a single image can be scored. Beyond the smallest and the
    largest known score the log-odds go on with slope 1, so that extreme rows are not tied.
    """

    name: ClassVar[str] = "rank_mean"
    scores_: list[Floats]
    ranks_: list[Floats]

    def fit(self, logits: Floats, labels: Labels, weights: Floats) -> Self:
        """Stores at most 1,001 quantiles of each column."""
        self.scores_, self.ranks_ = [], []
        for column in (column[~np.isnan(column)] for column in logits.T):
            ranks = logit((rank_scores(column) - 0.5) / len(column))
            scores, first = np.unique(column, return_index=True)
            places = np.linspace(0, len(scores) - 1, KNOTS).round().astype(int)
            keep = np.unique(places)[: len(scores)]
            self.scores_.append(scores[keep])
            self.ranks_.append(ranks[first][keep])
        return self

    def score(self, logits: Floats) -> Floats:
        """`(n,)` log-odds of the mean rank."""
        parts = []
        for column, scores, ranks in zip(logits.T, self.scores_, self.ranks_, strict=True):
            if not len(scores):  # none was there at the fit
                parts.append(np.full(len(column), np.nan))
                continue
            beyond = column - np.clip(column, scores[0], scores[-1])
            parts.append(np.interp(column, scores, ranks) + beyond)
        above, below = log_expit(parts), log_expit(np.negative(parts))
        gaps = np.isnan(parts)
        # No score has no part in either mean; without any, both sides weigh the same.
        above[gaps] = below[gaps] = np.where(gaps.all(axis=0), 0.0, -np.inf)[np.where(gaps)[1]]
        # A rank itself would round to 0 or 1 far out, and tie the most extreme rows.
        return np.asarray(logsumexp(above, axis=0) - logsumexp(below, axis=0))

    def weigh(self, logits: Floats) -> None:
        """See `Combiner`."""

    def to_json(self) -> dict[str, Any]:
        """The quantiles."""
        return {
            "scores": [list(map(float, column)) for column in self.scores_],
            "ranks": [list(map(float, column)) for column in self.ranks_],
        }

    @classmethod
    def from_json(cls, learned: dict[str, Any]) -> Self:
        """From the quantiles."""
        combiner = cls()
        combiner.scores_ = [np.asarray(column) for column in learned["scores"]]
        combiner.ranks_ = [np.asarray(column) for column in learned["ranks"]]
        return combiner


class Logistic:
    """Logistic regression on the standardised logits."""

    name: ClassVar[str] = "logistic"
    coefficients_: Floats
    intercept_: float
    standards_: Standards

    def fit(self, logits: Floats, labels: Labels, weights: Floats) -> Self:
        """scikit-learn's `LogisticRegression`; coefficients are of logits as they come."""
        from sklearn.linear_model import LogisticRegression  # late: scoring does without

        self.standards_ = Standards.measure(logits)
        mean, scale = self.standards_.means, self.standards_.scales
        scaled = (self.standards_.fill(logits) - mean) / scale
        model = LogisticRegression().fit(scaled, labels, weights)
        self.coefficients_ = model.coef_[0] / scale
        self.intercept_ = float(model.intercept_[0] - mean @ self.coefficients_)
        return self

    def score(self, logits: Floats) -> Floats:
        """`(n,)` log-odds."""
        return np.asarray(self.standards_.fill(logits) @ self.coefficients_ + self.intercept_)

    def weigh(self, logits: Floats) -> Floats:
        """See `Combiner`."""
        return self.standards_.fill(logits) * self.coefficients_

    def to_json(self) -> dict[str, Any]:
        """Coefficients, intercept and standards."""
        learned = {"coefficients": list(map(float, self.coefficients_))}
        return {**learned, "intercept": self.intercept_, **self.standards_.to_json()}

    @classmethod
    def from_json(cls, learned: dict[str, Any]) -> Self:
        """From what `to_json` gives."""
        combiner = cls()
        combiner.coefficients_ = np.asarray(learned["coefficients"])
        combiner.intercept_ = learned["intercept"]
        combiner.standards_ = Standards.from_json(learned)
        return combiner


class BestSingle:
    """The backbone with the highest AUC on the out-of-fold rows."""

    name: ClassVar[str] = "best_single"
    backbone_: int
    standards_: Standards

    def fit(self, logits: Floats, labels: Labels, weights: Floats) -> Self:
        """Chooses the column; the first of equals. A gap counts as a score that says nothing."""
        self.standards_ = Standards.measure(logits)
        known = np.where(np.isnan(logits), self.standards_.means, logits)
        self.backbone_ = int(np.argmax([find_auc(labels, column) for column in known.T]))
        return self

    def score(self, logits: Floats) -> Floats:
        """`(n,)` that backbone's log-odds."""
        return np.asarray(self.standards_.fill(logits)[:, self.backbone_])

    def weigh(self, logits: Floats) -> Floats:
        """See `Combiner`."""
        return np.asarray(self.standards_.fill(logits) * np.eye(logits.shape[1])[self.backbone_])

    def to_json(self) -> dict[str, Any]:
        """Position of the backbone, and standards."""
        return {"backbone": self.backbone_, **self.standards_.to_json()}

    @classmethod
    def from_json(cls, learned: dict[str, Any]) -> Self:
        """From what `to_json` gives."""
        combiner = cls()
        combiner.backbone_ = learned["backbone"]
        combiner.standards_ = Standards.from_json(learned)
        return combiner


class Greedy:
    """Mean of backbones' log-odds, each as often as it was chosen.

    Greedy ensemble selection with replacement (Caruana et al., "Ensemble selection from libraries
    of models", ICML 2004), by AUC on the out-of-fold rows.
    """

    name: ClassVar[str] = "greedy"
    weights_: Floats

    def fit(self, logits: Floats, labels: Labels, weights: Floats) -> Self:
        """Adds the best column `CHOICES` times; of equals the first."""
        chosen, total = np.zeros(logits.shape[1]), np.zeros(len(logits))
        known, counts = ~np.isnan(logits), np.zeros(len(logits))
        parts = np.where(known, logits, 0.0)
        is_whole = known.all()
        for _ in range(CHOICES):
            sums = [total + column for column in parts.T]
            if not is_whole:  # means of what is there
                sums = [
                    one / np.maximum(counts + own, 1)
                    for one, own in zip(sums, known.T, strict=True)
                ]
            best = int(np.argmax([find_auc(labels, one) for one in sums]))
            chosen[best] += 1
            total += parts[:, best]
            counts += known[:, best]
        self.weights_ = chosen / CHOICES
        return self

    def score(self, logits: Floats) -> Floats:
        """`(n,)` weighted mean."""
        return fill_gaps(logits @ self.weights_, self.weigh(logits))

    def weigh(self, logits: Floats) -> Floats:
        """See `Combiner`."""
        return share_known(logits, self.weights_)

    def to_json(self) -> dict[str, Any]:
        """The weights."""
        return {"weights": list(map(float, self.weights_))}

    @classmethod
    def from_json(cls, learned: dict[str, Any]) -> Self:
        """From the weights."""
        combiner = cls()
        combiner.weights_ = np.asarray(learned["weights"])
        return combiner


COMBINERS: dict[str, type[Combiner]] = {
    kind.name: kind for kind in (Mean, RankMean, Greedy, Logistic, BestSingle)
}
