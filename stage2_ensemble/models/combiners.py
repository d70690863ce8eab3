"""Pooled combiners: second-stage models on columns that mean the same in every fold.

Fitted once on the out-of-fold rows of all active folds, applied to each fold's members. The
interface is scikit-learn's: the constructor only stores, `fit` sets attributes that end in `_`.
"""

from typing import Any, ClassVar, Protocol, Self

import numpy as np
from scipy.special import log_expit, logit, logsumexp

from features.core.auc import rank_scores
from stage2_ensemble.columns.columns import Floats, Labels

KNOTS = 1001
"""Quantiles kept of each backbone's scores."""
CHOICES = 20
"""Backbones that greedy selection takes, one after the other."""
FLAT = 1e-6
"""A backbone whose scores deviate less says nothing."""


class Combiner(Protocol):
    """Corrected logits `(n, b)` into one score `(n,)`, in log-odds of fake."""

    name: ClassVar[str]

    def fit(self, logits: Floats, labels: Labels, weights: Floats) -> Self:
        """Learns from out-of-fold rows: `labels` `(n,)` 0 real, 1 fake, `weights` `(n,)`."""

    def score(self, logits: Floats) -> Floats:
        """`(n,)` log-odds of fake."""

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
        return np.asarray(logits.mean(axis=1))

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
        for column in logits.T:
            ranks = logit((rank_scores(column) - 0.5) / len(column))
            scores, first = np.unique(column, return_index=True)
            keep = np.unique(np.linspace(0, len(scores) - 1, KNOTS).round().astype(int))
            self.scores_.append(scores[keep])
            self.ranks_.append(ranks[first][keep])
        return self

    def score(self, logits: Floats) -> Floats:
        """`(n,)` log-odds of the mean rank."""
        parts = []
        for column, scores, ranks in zip(logits.T, self.scores_, self.ranks_, strict=True):
            beyond = column - np.clip(column, scores[0], scores[-1])
            parts.append(np.interp(column, scores, ranks) + beyond)
        above, below = log_expit(parts), log_expit(np.negative(parts))
        # A rank itself would round to 0 or 1 far out, and tie the most extreme rows.
        return np.asarray(logsumexp(above, axis=0) - logsumexp(below, axis=0))

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

    def fit(self, logits: Floats, labels: Labels, weights: Floats) -> Self:
        """scikit-learn's `LogisticRegression`; coefficients are of logits as they come."""
        from sklearn.linear_model import LogisticRegression  # late: scoring does without

        mean, scale = logits.mean(axis=0), logits.std(axis=0)
        scale = np.where(scale > FLAT, scale, 1.0)  # else rounding becomes a huge coefficient
        model = LogisticRegression().fit((logits - mean) / scale, labels, weights)
        self.coefficients_ = model.coef_[0] / scale
        self.intercept_ = float(model.intercept_[0] - mean @ self.coefficients_)
        return self

    def score(self, logits: Floats) -> Floats:
        """`(n,)` log-odds."""
        return np.asarray(logits @ self.coefficients_ + self.intercept_)

    def to_json(self) -> dict[str, Any]:
        """Coefficients and intercept."""
        return {"coefficients": list(map(float, self.coefficients_)), "intercept": self.intercept_}

    @classmethod
    def from_json(cls, learned: dict[str, Any]) -> Self:
        """From coefficients and intercept."""
        combiner = cls()
        combiner.coefficients_ = np.asarray(learned["coefficients"])
        combiner.intercept_ = learned["intercept"]
        return combiner


class BestSingle:
    """The backbone with the highest AUC on the out-of-fold rows."""

    name: ClassVar[str] = "best_single"
    backbone_: int

    def fit(self, logits: Floats, labels: Labels, weights: Floats) -> Self:
        """Chooses the column; the first of equals."""
        from sklearn.metrics import roc_auc_score

        self.backbone_ = int(np.argmax([roc_auc_score(labels, column) for column in logits.T]))
        return self

    def score(self, logits: Floats) -> Floats:
        """`(n,)` that backbone's log-odds."""
        return np.asarray(logits[:, self.backbone_])

    def to_json(self) -> dict[str, Any]:
        """Position of the backbone."""
        return {"backbone": self.backbone_}

    @classmethod
    def from_json(cls, learned: dict[str, Any]) -> Self:
        """From the position."""
        combiner = cls()
        combiner.backbone_ = learned["backbone"]
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
        for _ in range(CHOICES):
            # The higher the ranks of the fakes, the higher the AUC.
            ranks = [rank_scores(total + column)[labels == 1].sum() for column in logits.T]
            best = int(np.argmax(ranks))
            chosen[best] += 1
            total += logits[:, best]
        self.weights_ = chosen / CHOICES
        return self

    def score(self, logits: Floats) -> Floats:
        """`(n,)` weighted mean."""
        return np.asarray(logits @ self.weights_)

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
