"""Class-weighted LightGBM on named columns: boosted trees, or a random forest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import lightgbm
import numpy as np

from features.errors import AlignmentError
from features.settings.stacking import Stack
from stage2_ensemble.columns.columns import (
    Floats,
    FoldColumns,
    Labels,
    MemberColumns,
    Parts,
    check_fittable,
)
from stage2_ensemble.columns.feature_matrix import Basis, FeatureMatrix, fit_basis

Kind = Literal["gbdt", "rf"]
STOP_AFTER = 30
"""Rounds without a lower weighted log loss that end the search for the number of rounds."""
FOREST_TREES = 200
EFFECTIVE_BETA = 0.9999
"""For `class_weight: effective`: 1 - 1/(rows after which further ones add little)."""
FEWEST_LEAVES = 20
"""That `min_data_in_leaf` leaves room for: of 60 rows, 20 a leaf would let nothing split."""
SERIAL_ROWS = 10_000
"""Fewer rows are learned by one thread: threads that wait for each other take longer, on a machine
with other work ten times as long."""


@dataclass(frozen=True)
class Boosted:
    """Fitted boosters on one table; `shift` undoes the class weights.

    On the rows of several folds, if no column belongs to one fold alone.
    """

    table: FeatureMatrix
    boosters: tuple[lightgbm.Booster, ...]
    """Of several seeds: their log-odds are averaged."""
    shift: float
    """Subtracted from the log-odds."""
    kind: Kind = "gbdt"

    @classmethod
    def fit(
        cls,
        folds: Sequence[FoldColumns],
        settings: Stack,
        seed: int,
        kind: Kind = "gbdt",
        components: bool = False,
        basis: Basis | None = None,
    ) -> Self:
        """Learns from all rows; the number of rounds comes from a split of them by group.

        `basis`: that of these rows, where it is at hand.
        """
        basis = basis or fit_basis(folds, settings, seed)
        table, rows = FeatureMatrix.fit(folds, settings, components, basis)
        labels, weights, shift = gather_rows(folds, settings)
        options = build_options(settings, seed, kind, rows.shape)
        data = lightgbm.Dataset(rows, labels, weight=weights, params=options, free_raw_data=False)
        parts = [basis[columns.fold].parts for columns in folds]
        rounds = FOREST_TREES
        if kind == "gbdt":
            rounds = find_rounds(data, parts, options, settings.max_rounds)
        boosters = tuple(
            lightgbm.train(options | {"seed": seed + bag}, data, rounds)
            for bag in range(settings.bags)
        )
        return cls(table, boosters, shift, kind)

    def score(self, columns: MemberColumns) -> Floats:
        """`(n,)` log-odds of fake. Raises `AlignmentError` for other columns than at the fit."""
        rows = self.table.build(columns)
        if not len(rows):
            return np.empty(0)
        threads = count_threads(len(rows))
        found = [
            np.asarray(b.predict(rows, raw_score=True, num_threads=threads), np.float64)
            for b in self.boosters
        ]
        if self.kind == "rf":  # of a forest, too, LightGBM gives the sum over its trees
            found = [f / b.num_trees() for f, b in zip(found, self.boosters, strict=True)]
        return np.asarray(np.mean(found, axis=0)) - self.shift


@dataclass(frozen=True)
class FoldModels:
    """A model for each fold, for columns that mean something within one fold alone."""

    models: Mapping[int, Boosted]

    @classmethod
    def fit(
        cls,
        folds: Sequence[FoldColumns],
        settings: Stack,
        seed: int,
        basis: Basis | None = None,
    ) -> Self:
        """Each learns from the rows of its fold, principal components of embeddings too."""
        return cls(
            {
                c.fold: Boosted.fit([c], settings, seed + c.fold, components=True, basis=basis)
                for c in folds
            }
        )

    def score(self, columns: MemberColumns) -> Floats:
        """`(n,)` log-odds by the model of the columns' fold."""
        if columns.fold not in self.models:
            raise AlignmentError("folds of model and members", columns.fold, list(self.models))
        return self.models[columns.fold].score(columns)


def find_rounds(
    data: lightgbm.Dataset,
    parts: Sequence[Parts | None],
    options: dict[str, object],
    most: int,
) -> int:
    """Rounds, at most `most`, with the lowest weighted log loss on rows left out: part 0.

    `data` holds the rows of all folds, `parts` those of each fold: what they were cut into for
    distances, so a row that is left out has distances by models that did not see it. Without parts
    a tenth of `most`.
    """
    if any(own is None for own in parts):
        return max(1, most // 10)
    stop_rows = np.concatenate([own == 0 for own in parts if own is not None])
    learn, stop = (data.subset(np.flatnonzero(rows).tolist()) for rows in (~stop_rows, stop_rows))
    booster = lightgbm.train(
        options,
        learn,
        most,
        valid_sets=[stop],
        callbacks=[lightgbm.early_stopping(STOP_AFTER, verbose=False)],
    )
    return max(1, booster.best_iteration)


def gather_rows(folds: Sequence[FoldColumns], settings: Stack) -> tuple[Labels, Floats, float]:
    """Labels and weights of the rows of all folds, class weights in them, and their shift."""
    for columns in folds:
        check_fittable(columns)
    labels = np.concatenate([columns.labels for columns in folds])
    weights = np.concatenate([columns.weights for columns in folds])
    return labels, *weigh_rows(labels, weights, settings.class_weight)


def weigh_rows(labels: Labels, weights: Floats, class_weight: str | float) -> tuple[Floats, float]:
    """Row weights `(n,)` with the class weights in them, and log(w1 / w0) of the class weights.

    `effective`: classes in proportion to (1 - β^n) / (1 - β), the effective number of rows (Cui et
    al., "Class-balanced loss based on effective number of samples", CVPR 2019).
    """
    totals = np.array([weights[labels == 0].sum(), weights[labels == 1].sum()])
    if class_weight == "none":
        class_weights = np.ones(2)
    elif class_weight == "balanced":
        class_weights = np.asarray(1 / totals)
    elif class_weight == "effective":
        # expm1 and log1p: 1 - β^n keeps its digits for β near 1
        class_weights = np.asarray(-1 / np.expm1(totals * np.log1p(EFFECTIVE_BETA - 1)))
    else:
        class_weights = np.array([float(class_weight), 1.0])
    shift = float(np.log(class_weights[1] / class_weights[0]))
    class_weights *= totals.sum() / (class_weights * totals).sum()
    return weights * class_weights[labels], shift


def build_options(
    settings: Stack, seed: int, kind: Kind, shape: tuple[int, int]
) -> dict[str, object]:
    """LightGBM's parameters for `(rows, columns)`; it gives the same model with any threads."""
    options: dict[str, object] = {
        "objective": "binary",
        "metric": "binary_logloss",
        "num_leaves": settings.num_leaves,
        "min_data_in_leaf": min(settings.min_data_in_leaf, max(1, shape[0] // FEWEST_LEAVES)),
        "lambda_l2": settings.lambda_l2,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": count_threads(shape[0]),
        "verbosity": -1,
        "boosting": kind,
    }
    if kind == "rf":
        # As Breiman: a bootstrap sample, and the root of the columns at each split.
        forest = {"bagging_freq": 1, "bagging_fraction": 0.632, "num_leaves": 63}
        return options | forest | {"feature_fraction_bynode": min(1.0, shape[1] ** -0.5)}
    learning = {"learning_rate": settings.learning_rate}
    return options | learning | {"feature_fraction": settings.feature_fraction}


def count_threads(rows: int) -> int:
    """For LightGBM; 0 is as many as there are cores."""
    return 1 if rows < SERIAL_ROWS else 0
