"""Class-weighted LightGBM that goes on from the best simple combiner, on named columns.

Boosting begins at that combiner's log-odds (LightGBM's `init_score`), so the trees learn what the
columns know beyond it. Where they know nothing there are no trees, and the scores are those of the
combiner. First come trees that look at one column each: a sum of curves. Where columns tell more
together, trees of more leaves follow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import lightgbm
import numpy as np
from lightgbm import Booster

from features.errors import AlignmentError
from features.settings.stacking import Stack
from stage2_ensemble.columns.basis import Basis, fit_basis
from stage2_ensemble.columns.columns import (
    Floats,
    FoldColumns,
    InnerFolds,
    Labels,
    Mask,
    MemberColumns,
    check_fittable,
)
from stage2_ensemble.columns.dask_arrays import is_spread, map_rows
from stage2_ensemble.columns.feature_matrix import FeatureMatrix, Matrix
from stage2_ensemble.models.best_simple import BestSimple, Start, fit_start
from stage2_ensemble.models.dask_boosting import SpreadRows, boost_spread
from stage2_ensemble.models.rounds import (
    STOP_AFTER,
    Options,
    follow_steps,
    list_left_out,
    pick_rounds,
)

EFFECTIVE_BETA = 0.9999
"""For `class_weight: effective`: 1 - 1/(rows after which further ones add little)."""
FEWEST_LEAVES = 20
"""That `min_data_in_leaf` leaves room for: of 60 rows, 20 a leaf would let nothing split."""
TOGETHER_L2 = 10.0
"""Times `stack.lambda_l2`: of trees that look at columns together."""
ALL = 1 - 1e-6
"""`feature_fraction` of all columns; at 1 LightGBM would keep those of the last tree before."""
BIN_ROWS = 20_000
"""Rows that the bins of a column are found on; more take longer and move no bin that matters."""
SERIAL_ROWS = 10_000
"""Fewer rows are learned by one thread: threads that wait for each other take longer, on a machine
with other work ten times as long."""


@dataclass(frozen=True)
class Boosted:
    """A simple combiner, and boosters that add to its log-odds.

    On the rows of several folds, if no column belongs to one fold alone.
    """

    start: BestSimple
    table: FeatureMatrix
    boosters: tuple[lightgbm.Booster, ...]
    """Of several seeds: what they add is averaged. None where the columns add nothing."""

    @classmethod
    def fit(
        cls,
        folds: Sequence[FoldColumns],
        settings: Stack,
        seed: int,
        basis: Basis | None = None,
        start: Start | None = None,
        components: bool = False,
    ) -> Self:
        """Learns from all rows; the number of rounds is chosen by cross-validation within them.

        `basis` and `start`: those of these rows, where they are at hand. A `start` may be that of
        more folds.
        """
        basis = basis or fit_basis(folds, settings, seed)
        start = start or fit_start(folds, settings, seed)
        table, rows = FeatureMatrix.fit(folds, settings, components, basis)
        labels, weights, shift = gather_rows(folds, settings)
        options = build_options(settings, seed, rows.shape)
        # With class weights log-odds are higher by a shift; trees on top of it know nothing of it.
        begin = np.concatenate([start.crossed[columns.fold] for columns in folds]) + shift
        inner_folds = [basis[columns.fold].inner_folds for columns in folds]
        steps = list_steps(settings)
        seeds = [seed + bag for bag in range(settings.bags)]
        if settings.is_spread:
            shared = SpreadRows(rows, labels, weights)
            how = (options, steps, settings.max_rounds, seeds, settings.dask_workers)
            grown = boost_spread(shared, begin, list_left_out(inner_folds), *how)
            return cls(start.best, table, tuple(grown))
        data = lightgbm.Dataset(
            rows, labels, weight=weights, init_score=begin, params=options, free_raw_data=False
        )
        rounds = find_rounds(data, inner_folds, options, settings.max_rounds, steps)
        seeds = seeds if sum(rounds) else []
        boosters = [grow_trees(data, options | {"seed": own}, steps, rounds) for own in seeds]
        return cls(start.best, table, tuple(boosters))

    def score(self, columns: MemberColumns) -> Floats:
        """`(n,)` log-odds of fake. Raises `AlignmentError` for other columns than at the fit."""
        begin = self.start.score(columns)
        if not self.boosters:
            return begin
        return begin + predict_mean(self.boosters, self.table.build(columns))


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
        start: Start | None = None,
    ) -> Self:
        """Each learns from the rows of its fold, principal components of embeddings too.

        They begin at one combiner, that of the rows of all folds.
        """
        start = start or fit_start(folds, settings, seed)
        models = {
            c.fold: Boosted.fit([c], settings, seed + c.fold, basis, start, components=True)
            for c in folds
        }
        return cls(models)

    def score(self, columns: MemberColumns) -> Floats:
        """`(n,)` log-odds by the model of the columns' fold."""
        if columns.fold not in self.models:
            raise AlignmentError("folds of model and members", columns.fold, list(self.models))
        return self.models[columns.fold].score(columns)


def predict_mean(boosters: Sequence[lightgbm.Booster], rows: Matrix) -> Floats:
    """`(n,)` sum over the trees of each booster, the mean over boosters; 0 without any."""
    if not (boosters and len(rows)):
        return np.zeros(len(rows))
    if is_spread(rows):
        found = map_rows(partial(_predict_block, boosters), rows, 1, np.float64)
        return np.asarray(found.compute()[:, 0])
    threads = count_threads(len(rows))
    sums = [b.predict(rows, raw_score=True, num_threads=threads) for b in boosters]
    return np.asarray(np.mean(sums, axis=0, dtype=np.float64))


def _predict_block(boosters: Sequence[Booster], rows: Matrix) -> Floats:
    return predict_mean(boosters, rows)[:, None]


def list_steps(settings: Stack) -> list[Options]:
    """Options of the kinds of trees that follow each other.

    First trees that look at one column each. Then those that let columns act together: they see all
    columns, since of any two a half of them holds both in a quarter of the trees, and are held back
    more, since they can fit more. Both were chosen by `benchmarks.stacker_study`.
    """
    curves: Options = {
        "num_leaves": 2,
        "feature_fraction": settings.feature_fraction,
        "lambda_l2": settings.lambda_l2,
    }
    together: Options = {
        "num_leaves": settings.num_leaves,
        "feature_fraction": ALL,
        "lambda_l2": TOGETHER_L2 * settings.lambda_l2,
    }
    return [curves, together] if settings.num_leaves > 2 else [curves]


def grow_trees(
    data: lightgbm.Dataset, options: Options, steps: Sequence[Options], rounds: Sequence[int]
) -> Booster:
    """So many rounds of each step."""
    return lightgbm.train(options, data, sum(rounds), callbacks=[follow_steps(steps, rounds)])


def find_rounds(
    data: lightgbm.Dataset,
    inner_folds: Sequence[InnerFolds | None],
    options: Options,
    most: int,
    steps: Sequence[Options],
) -> list[int]:
    """Rounds of each step, one after the other, 0 to `most` of each.

    Those with the lowest weighted log loss over the inner folds; from the second step on none
    unless the loss falls by more than its standard error (noise has two chances to look good).
    `data` holds the rows of all folds, with the log-odds that boosting begins at; `inner_folds`
    those of each fold. They are those of the distances, so a row that is left out has distances by
    models that did not see it. 0 where the rows cannot be cut, or no column can.
    """
    left_out = list_left_out(inner_folds)
    data.construct()
    bins = [data.feature_num_bin(place) for place in range(data.num_feature())]
    if not left_out or not any(bins):
        return [0] * len(steps)
    boosters = [_leave_out(data, rows, options) for rows in left_out]
    return [_boost(boosters, step, most, place > 0) for place, step in enumerate(steps)]


def _leave_out(data: lightgbm.Dataset, left_out: Mask, options: Options) -> Booster:
    """A booster without trees, which learns from the other rows and measures those left out."""
    booster = lightgbm.Booster(options, data.subset(np.flatnonzero(~left_out).tolist()))
    booster.add_valid(data.subset(np.flatnonzero(left_out).tolist()), "left out")
    return booster


def _boost(boosters: Sequence[Booster], step: Options, most: int, doubted: bool) -> int:
    """Adds trees to all boosters for as long as it lowers their mean loss; how many rounds.

    If `doubted`, none where the loss falls by no more than its standard error over the boosters.
    """
    begun = [booster.current_iteration() for booster in boosters]
    for booster in boosters:
        booster.reset_parameter(step)
    losses = [_measure_losses(boosters)]
    best = 0
    while len(losses) <= most and len(losses) - best <= STOP_AFTER:
        for booster in boosters:
            booster.update()
        losses.append(_measure_losses(boosters))
        best = pick_rounds(losses, doubted=False)
    best = pick_rounds(losses, doubted)
    for booster, count in zip(boosters, begun, strict=True):
        while booster.current_iteration() > count + best:
            booster.rollback_one_iter()
    return best


def _measure_losses(boosters: Sequence[Booster]) -> Floats:
    """`(k,)` weighted log loss of the rows that each booster leaves out."""
    return np.array([booster.eval_valid()[0][2] for booster in boosters])


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


def build_options(settings: Stack, seed: int, shape: tuple[int, int]) -> Options:
    """LightGBM's parameters for `(rows, columns)`; it gives the same model with any threads."""
    return {
        "objective": "binary",
        "metric": "binary_logloss",
        "learning_rate": settings.learning_rate,
        "min_data_in_leaf": min(settings.min_data_in_leaf, max(1, shape[0] // FEWEST_LEAVES)),
        "bin_construct_sample_cnt": BIN_ROWS,
        "seed": seed,
        "deterministic": True,
        "force_col_wise": True,
        "num_threads": count_threads(shape[0]),
        "verbosity": -1,
    }


def count_threads(rows: int) -> int:
    """For LightGBM; 0 is as many as there are cores."""
    return 1 if rows < SERIAL_ROWS else 0
