"""Stacker of one fold: class-weighted LightGBM on logits and principal components.

Embedding axes of two separately trained networks have nothing to do with each other, so a stacker
that uses embeddings belongs to one fold: all its rows come from the same networks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import lightgbm
import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from features.errors import AlignmentError
from features.stack_params import Stack
from stage2_ensemble.columns import Columns, Floats, FoldColumns, Labels, check_fittable

PCA_ROWS = 20_000
"""Components are fitted on at most so many rows; more do not change them (12.8 s at 147,363)."""
BLOCK = 16_384
STOP_AFTER = 30
"""Rounds without a lower weighted log loss that end the search for the number of rounds."""


@dataclass(frozen=True)
class Projection:
    """Principal components of one backbone's embedding: `mean` `(d,)`, `components` `(c, d)`."""

    mean: npt.NDArray[np.float32]
    components: npt.NDArray[np.float32]

    @classmethod
    def fit(cls, embeddings: npt.NDArray[np.float16], components: int, seed: int) -> Self:
        """min(`components`, n // 4, d) components of `(n, d)` embeddings."""
        n, width = embeddings.shape
        rows = np.arange(n)
        if n > PCA_ROWS:
            rows = np.sort(np.random.default_rng(seed).choice(n, PCA_ROWS, replace=False))
        count = max(1, min(components, n // 4, width))
        with threadpool_limits(1, "blas"):  # its sums, so the model's bytes, depend on the threads
            model = PCA(count, svd_solver="covariance_eigh")
            model.fit(embeddings[rows].astype(np.float64))
        return cls(model.mean_.astype(np.float32), model.components_.astype(np.float32))

    def apply(self, embeddings: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
        """`(n, d)` to `(n, c)`, in blocks, so that a memory-mapped array never lies in memory."""
        if embeddings.shape[1] != len(self.mean):
            raise AlignmentError("embedding widths", embeddings.shape[1], len(self.mean))
        result = np.empty((len(embeddings), len(self.components)), np.float32)
        for start in range(0, len(embeddings), BLOCK):
            block = embeddings[start : start + BLOCK].astype(np.float32)
            result[start : start + BLOCK] = (block - self.mean) @ self.components.T
        return result


@dataclass(frozen=True)
class Stacker:
    """A fitted stacker. `shift` undoes the class weights: it is subtracted from the log-odds."""

    fold: int
    names: tuple[str, ...]
    projections: dict[str, Projection]
    booster: lightgbm.Booster
    shift: float

    def score(self, columns: Columns) -> Floats:
        """`(n,)` log-odds of fake. Raises `AlignmentError` for other columns than at the fit."""
        if columns.fold != self.fold:
            raise AlignmentError("folds of stacker and members", columns.fold, self.fold)
        names = name_columns(columns.backbones, self.projections)
        if names != self.names:  # LightGBM itself ignores names and order
            raise AlignmentError("columns of the stacker", names, self.names)
        if not len(columns):
            return np.empty(0)
        raw = self.booster.predict(build_matrix(columns, self.projections), raw_score=True)
        return np.asarray(raw, dtype=np.float64) - self.shift


def name_columns(backbones: tuple[str, ...], projections: dict[str, Projection]) -> tuple[str, ...]:
    """`logit:<backbone>` of each, then `pca:<backbone>:<i>` of each."""
    names = [f"logit:{backbone}" for backbone in backbones]
    for backbone in backbones:
        if backbone not in projections:
            raise AlignmentError("backbones of the stacker", backbone, list(projections))
        count = len(projections[backbone].components)
        names += [f"pca:{backbone}:{i}" for i in range(count)]
    return tuple(names)


def build_matrix(columns: Columns, projections: dict[str, Projection]) -> npt.NDArray[np.float32]:
    """`(n, c)` float32, C-contiguous, columns as `name_columns` names them."""
    parts = [columns.logits.astype(np.float32)]
    for backbone, embeddings in zip(columns.backbones, columns.embeddings, strict=True):
        parts.append(projections[backbone].apply(embeddings))
    return np.ascontiguousarray(np.concatenate(parts, axis=1))


def weigh_rows(labels: Labels, weights: Floats, class_weight: str) -> tuple[Floats, float]:
    """Row weights `(n,)` with the class weights in them, and log(w1 / w0) of the class weights."""
    if class_weight == "none":
        return weights, 0.0
    totals = np.array([weights[labels == 0].sum(), weights[labels == 1].sum()])
    class_weights = totals.sum() / (2 * totals)
    return weights * class_weights[labels], float(np.log(class_weights[1] / class_weights[0]))


def _train(
    columns: FoldColumns, settings: Stack, seed: int, rounds: int, stop: FoldColumns | None = None
) -> Stacker:
    check_fittable(columns)
    projections = {
        backbone: Projection.fit(embeddings, settings.pca_components, seed)
        for backbone, embeddings in zip(columns.backbones, columns.embeddings, strict=True)
    }
    names = name_columns(columns.backbones, projections)
    weights, shift = weigh_rows(columns.labels, columns.weights, settings.class_weight)
    data = _build_dataset(columns, projections, weights)
    valid: list[lightgbm.Dataset] = []
    callbacks: list[Callable[..., Any]] = []
    if stop is not None:
        # An unweighted metric would stop class-weighted boosting at its first round.
        held, _ = weigh_rows(stop.labels, stop.weights, settings.class_weight)
        valid = [_build_dataset(stop, projections, held, data)]
        callbacks = [lightgbm.early_stopping(STOP_AFTER, verbose=False)]
    booster = lightgbm.train(
        _build_options(settings, seed), data, rounds, valid_sets=valid, callbacks=callbacks
    )
    return Stacker(columns.fold, names, projections, booster, shift)


def _build_dataset(
    columns: FoldColumns,
    projections: dict[str, Projection],
    weights: Floats,
    reference: lightgbm.Dataset | None = None,
) -> lightgbm.Dataset:
    matrix = build_matrix(columns, projections)
    return lightgbm.Dataset(matrix, columns.labels, weight=weights, reference=reference)


def _build_options(settings: Stack, seed: int) -> dict[str, object]:
    return {
        "objective": "binary",
        "metric": "binary_logloss",
        "learning_rate": settings.learning_rate,
        "num_leaves": settings.num_leaves,
        "min_data_in_leaf": settings.min_data_in_leaf,
        "feature_fraction": settings.feature_fraction,
        "lambda_l2": settings.lambda_l2,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }


def fit_stacker(columns: FoldColumns, settings: Stack, seed: int, rounds: int) -> Stacker:
    """A stacker of `rounds` trees on all of `columns`."""
    return _train(columns, settings, seed, rounds)


def find_rounds(learn: FoldColumns, stop: FoldColumns, settings: Stack, seed: int) -> int:
    """Rounds at which a stacker fitted on `learn` has its lowest weighted log loss on `stop`."""
    check_fittable(stop)
    stacker = _train(learn, settings, seed, settings.max_rounds, stop)
    return max(1, stacker.booster.best_iteration)
