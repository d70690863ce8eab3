"""Class-weighted random forest, by LightGBM, on the same named columns as `boosted`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import lightgbm

from features.settings.stacking import Stack
from stage2_ensemble.columns.basis import Basis, fit_basis
from stage2_ensemble.columns.columns import Floats, FoldColumns, MemberColumns
from stage2_ensemble.columns.feature_matrix import FeatureMatrix
from stage2_ensemble.models.boosted import build_options, gather_rows, predict_mean
from stage2_ensemble.models.dask_boosting import SpreadRows, grow_spread

TREES = 200


@dataclass(frozen=True)
class Forest:
    """Fitted forests on one table; LightGBM lets no forest begin at a combiner's log-odds."""

    table: FeatureMatrix
    boosters: tuple[lightgbm.Booster, ...]
    """Of several seeds: their log-odds are averaged."""
    shift: float
    """log(w1 / w0) of the class weights, subtracted from the log-odds."""

    @classmethod
    def fit(
        cls, folds: Sequence[FoldColumns], settings: Stack, seed: int, basis: Basis | None = None
    ) -> Self:
        """Learns from all rows; `basis`: that of these rows, where it is at hand."""
        basis = basis or fit_basis(folds, settings, seed)
        table, rows = FeatureMatrix.fit(folds, settings, False, basis)
        labels, weights, shift = gather_rows(folds, settings)
        # As Breiman: a bootstrap sample, and the root of the columns at each split.
        options = build_options(settings, seed, rows.shape) | {
            "boosting": "rf",
            "bagging_freq": 1,
            "bagging_fraction": 0.632,
            "num_leaves": 63,
            "lambda_l2": settings.lambda_l2,
            "feature_fraction": 1.0,
            "feature_fraction_bynode": min(1.0, rows.shape[1] ** -0.5),
        }
        seeds = [seed + bag for bag in range(settings.bags)]
        if settings.is_spread:
            shared = SpreadRows(rows, labels, weights)
            grown = grow_spread(shared, options, TREES, seeds, settings.dask_workers)
            return cls(table, tuple(grown), shift)
        data = lightgbm.Dataset(rows, labels, weight=weights, params=options, free_raw_data=False)
        boosters = [lightgbm.train(options | {"seed": own}, data, TREES) for own in seeds]
        return cls(table, tuple(boosters), shift)

    def score(self, columns: MemberColumns) -> Floats:
        """`(n,)` log-odds of fake. Raises `AlignmentError` for other columns than at the fit."""
        # Of a forest, too, LightGBM gives the sum over its trees.
        return predict_mean(self.boosters, self.table.build(columns)) / self.trees - self.shift

    @property
    def trees(self) -> int:
        """In each booster."""
        return int(self.boosters[0].num_trees())
