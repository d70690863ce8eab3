"""The head of a frozen encoder: logistic regression on standardised embeddings.

fitted = fit_head(embeddings, labels, weights, groups, seed=0)
fitted.head.score(embeddings)
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from features.core.manifest import Ids
from features.errors import ManifestError
from features.splits.folds import split_evenly
from stage1_cnn.frozen.embedded import BLOCK, Head, Singles

STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Variances of the weights' normal prior (scikit-learn's `C`) to choose from, strictest first."""
ALONE = 1e-2
"""The one that is taken where the rows are too few to choose."""
INNER = 5
"""Inner folds that are left out in turn to choose by."""
SEARCHED = 20_000
"""Rows that the choice is made on: of more, the inner folds are so many more, and others have no
part in it. A prior is a matter of the embeddings rather than of the number of rows."""
Labels = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FittedHead:
    """A head, and how strict its prior is."""

    head: Head
    strength: float
    losses: Floats
    """Weighted log loss of rows left out, for each of `STRENGTHS`; empty where none was chosen."""

    @property
    def parameters(self) -> int:
        """That were learned."""
        return len(self.head.weight) + 1


def fit_head(
    embeddings: Singles, labels: Labels, weights: Floats, groups: Ids, seed: int
) -> FittedHead:
    """The head by all rows `(n, d)`, its prior the one with the lowest log loss on rows left out.

    `weights` `(n,)`: what each row counts, of any scale. Rows of a group are left out together.
    Standardisation is folded into the head's weights, so it takes embeddings as they are. Raises
    `ManifestError` where a class has no row.
    """
    if len(np.unique(labels)) < 2:
        raise ManifestError("train", ["a head would be fitted on rows of one class alone"])
    weights = weights / weights.mean()
    mean, spread = _measure_spread(embeddings, weights)
    rows = embeddings - mean
    rows /= spread
    with threadpool_limits(1, "blas"):  # sums of several threads depend on their number
        losses = _measure_losses(rows, labels, weights, groups, seed)
        strength = STRENGTHS[int(np.argmin(losses))] if len(losses) else ALONE
        weight, bias = _fit_path(rows, labels, weights, [strength], 1e-6)[0]
    folded = (weight / spread).astype(np.float32)
    shift = float(folded.astype(np.float64) @ mean.astype(np.float64))
    return FittedHead(Head(folded, bias - shift), strength, losses)


def _measure_spread(embeddings: Singles, weights: Floats) -> tuple[Singles, Singles]:
    """Weighted mean and standard deviation `(d,)`, block by block; infinite where nothing varies,
    so that the value gets no weight.
    """
    blocks = [slice(i, i + BLOCK) for i in range(0, len(embeddings), BLOCK)]
    mean = sum(weights[b] @ embeddings[b].astype(np.float64) for b in blocks) / weights.sum()
    squares = sum(weights[b] @ (embeddings[b] - mean) ** 2 for b in blocks)
    spread = np.sqrt(squares / weights.sum())
    spread[spread < 1e-6 * np.maximum(1, np.abs(mean))] = np.inf
    return mean.astype(np.float32), spread.astype(np.float32)


def _measure_losses(
    rows: Singles, labels: Labels, weights: Floats, groups: Ids, seed: int
) -> Floats:
    """Mean weighted log loss over the inner folds, for each of `STRENGTHS`.

    Empty where the groups cannot be cut, or a cut leaves one class alone to learn from.
    """
    most = min(len(np.unique(groups[labels == label])) for label in (0, 1))
    count = min(most, max(INNER, -(-INNER * len(labels) // SEARCHED)))
    if count < 2:
        return np.empty(0)
    parts = split_evenly(labels, groups, count, seed)
    chosen = np.flatnonzero(parts < INNER)
    others = [chosen[parts[chosen] != part] for part in range(min(count, INNER))]
    if any(len(np.unique(labels[rest])) < 2 for rest in others):
        return np.empty(0)

    def leave_out(part: int) -> Floats:
        rest, own = others[part], chosen[parts[chosen] == part]
        signs = np.where(labels[own] == 1, 1.0, -1.0)
        path = _fit_path(rows[rest], labels[rest], weights[rest], STRENGTHS, 1e-4)
        losses = [np.logaddexp(0, -signs * (rows[own] @ w + b)) for w, b in path]
        return np.average(losses, axis=1, weights=weights[own])

    with ThreadPoolExecutor(2) as pool:
        return np.mean(list(pool.map(leave_out, range(len(others)))), axis=0)


def _fit_path(
    rows: Singles, labels: Labels, weights: Floats, strengths: Sequence[float], tolerance: float
) -> list[tuple[Floats, float]]:
    """Weights `(d,)` and bias for each of `strengths`, each search going on from the one before."""
    from sklearn.linear_model import LogisticRegression  # late: only fitting pays for it

    model = LogisticRegression(tol=tolerance, max_iter=1000, warm_start=True)
    found = []
    for strength in strengths:
        model.set_params(C=strength).fit(rows, labels, sample_weight=weights)
        found.append((model.coef_[0].astype(np.float64), float(model.intercept_[0])))
    return found
