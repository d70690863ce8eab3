"""LightGBM on the workers of a Dask cluster, each with a part of the rows: `lightgbm.dask`.

Every worker is given each k-th row of either class: both classes, and about the same rows, since
LightGBM finds the bins of a column on those of one worker. As many workers give the same trees,
whichever they are: sums over rows are theirs, in their order.

Early stopping is none of `lightgbm.dask`: each worker would stop by the rows that it happens to
have, and the others wait for it (LightGBM's issue 6351). So all get the same rows to measure on,
see the same losses and stop together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np
from lightgbm import Booster

from features.core.manifest import Ids
from stage2_ensemble.columns.columns import Floats, Labels, Mask
from stage2_ensemble.columns.dask_arrays import is_spread, map_rows, spread_rows
from stage2_ensemble.measures.metrics import measure_losses
from stage2_ensemble.models.dask_machines import (
    PlacingClient,
    deal_rows,
    forget_places,
    try_twice,
)
from stage2_ensemble.models.rounds import (
    LEFT_OUT,
    STOP_AFTER,
    Options,
    follow_steps,
    pick_rounds,
)

if TYPE_CHECKING:
    import dask.array as da

NAMES = {
    "boosting": "boosting_type",
    "bagging_fraction": "subsample",
    "bagging_freq": "subsample_freq",
    "bin_construct_sample_cnt": "subsample_for_bin",
    "feature_fraction": "colsample_bytree",
    "lambda_l2": "reg_lambda",
    "min_data_in_leaf": "min_child_samples",
    "seed": "random_state",
}
"""What LightGBM's parameters are called by its classes."""


@dataclass(frozen=True)
class SpreadRows:
    """What is learned from: `matrix` `(n, c)` lies with the workers."""

    matrix: "da.Array"
    labels: Labels
    weights: Floats


@dataclass(frozen=True)
class _Parts:
    """Arguments of a fit: Dask arrays with one block for each worker."""

    learned: dict[str, Any]
    measured: dict[str, Any]


def boost_spread(
    rows: SpreadRows,
    begin: Floats,
    left_out: Sequence[Mask],
    options: Options,
    steps: Sequence[Options],
    most: int,
    seeds: Sequence[int],
    workers: int,
) -> list[Booster]:
    """A booster for each seed, of as many rounds of each of `steps` as lower the loss on rows that
    are left out, `most` at most; none where no round does. They add to `begin`, log-odds `(n,)`.

    Raises `ClusterError` where it fails twice, or takes longer than `dask.minutes` twice.
    """

    def work(client: Any, machines: list[str]) -> list[Booster]:
        fitting = _Fitting(client, rows, machines)
        rounds = fitting.find_rounds(begin, left_out, options, steps, most)
        if not sum(rounds):
            return []
        follow = follow_steps(steps, rounds)
        parts = fitting.place(np.arange(len(rows.labels)), begin)
        return [
            fitting.fit(parts, options | steps[0] | {"seed": s}, sum(rounds), follow)[0]
            for s in seeds
        ]

    return try_twice(work, workers)


def grow_spread(
    rows: SpreadRows, options: Options, trees: int, seeds: Sequence[int], workers: int
) -> list[Booster]:
    """A booster of so many trees for each seed. Raises as `boost_spread`."""

    def work(client: Any, machines: list[str]) -> list[Booster]:
        fitting = _Fitting(client, rows, machines)
        parts = fitting.place(np.arange(len(rows.labels)))
        return [fitting.fit(parts, options | {"seed": s}, trees)[0] for s in seeds]

    return try_twice(work, workers)


class _Fitting:
    """Fits on the same rows, which are worked out once."""

    def __init__(self, client: Any, rows: SpreadRows, machines: Sequence[str]) -> None:
        from distributed import wait

        self._client, self._rows, self._machines = client, rows, machines
        matrix = rows.matrix if is_spread(rows.matrix) else spread_rows(rows.matrix)
        self._matrix = client.persist(matrix)
        wait(self._matrix)

    def find_rounds(
        self,
        begin: Floats,
        left_out: Sequence[Mask],
        options: Options,
        steps: Sequence[Options],
        most: int,
    ) -> list[int]:
        """Of each step; 0 where there is nothing to leave out."""
        if not left_out:
            return [0] * len(steps)
        begins = [begin] * len(left_out)
        found: list[int] = []
        for step in steps:
            fits = [
                self._measure(rows, own, options | step, most)
                for rows, own in zip(left_out, begins, strict=True)
            ]
            shortest = min(len(losses) for _, losses in fits)
            losses = np.stack([losses[:shortest] for _, losses in fits], axis=1)
            rounds = pick_rounds(list(losses), doubted=bool(found))
            found.append(rounds)
            if rounds and len(found) < len(steps):
                begins = [
                    own + self._score(booster, rounds)
                    for own, (booster, _) in zip(begins, fits, strict=True)
                ]
        return found

    def _measure(
        self, left_out: Mask, begin: Floats, options: Options, most: int
    ) -> tuple[Booster, Floats]:
        """A booster of the other rows, and the loss on those left out: before it, of each round."""
        measured = np.flatnonzero(left_out)
        measured = measured[:: -(-len(measured) // LEFT_OUT)]
        parts = self.place(np.flatnonzero(~left_out), begin, measured)
        stop = lightgbm.early_stopping(STOP_AFTER, verbose=False)
        booster, measured_losses = self.fit(parts, options, most, stop)
        (by_round,) = measured_losses["valid_0"].values()
        before = measure_losses(self._rows.labels[measured], begin[measured])
        unboosted = np.average(before, weights=self._rows.weights[measured])
        return booster, np.array([unboosted, *by_round])

    def _score(self, booster: Booster, rounds: int) -> Floats:
        """`(n,)` sums over the trees of so many rounds."""

        def predict(block: Any) -> Any:
            values = booster.predict(block, raw_score=True, num_iteration=rounds)
            return np.asarray(values)[:, None]

        return np.asarray(map_rows(predict, self._matrix, 1, np.float64).compute()[:, 0])

    def place(
        self, learned: Ids, begin: Floats | None = None, measured: Ids | None = None
    ) -> _Parts:
        """The rows at `learned`, a part with each worker; those at `measured` with every one.

        `begin`: `(n,)` log-odds to go on from.
        """
        import dask.array as da

        rows = self._rows
        dealt = [learned[own] for own in deal_rows(rows.labels[learned], len(self._machines))]

        def share_out(values: Any) -> Any:
            return da.concatenate([da.from_array(values[own], chunks=-1) for own in dealt])

        parts = {
            "X": da.concatenate([self._matrix[own].rechunk(-1) for own in dealt]),
            "y": share_out(rows.labels),
            "sample_weight": share_out(rows.weights),
        }
        if begin is not None:
            parts["init_score"] = share_out(begin)
        if measured is None:
            return _Parts(parts, {})

        def repeat(values: Any) -> Any:
            to_all = self._client.scatter(
                values, workers=self._machines, broadcast=True, hash=False
            )
            block = da.from_delayed(to_all, values.shape, values.dtype)
            return da.concatenate([block] * len(dealt))

        matrix = self._matrix[measured].compute()
        shown: dict[str, Any] = {
            "eval_X": (repeat(matrix),),
            "eval_y": (repeat(rows.labels[measured]),),
            "eval_sample_weight": [repeat(rows.weights[measured])],
        }
        if begin is not None:
            shown["eval_init_score"] = [repeat(begin[measured])]
        return _Parts(parts, shown)

    def fit(
        self, parts: _Parts, options: Options, rounds: int, *callbacks: Any
    ) -> tuple[Booster, Any]:
        """A booster of at most so many rounds, and by name what was measured after each."""
        named: dict[str, Any] = {NAMES.get(name, name): value for name, value in options.items()}
        del named["num_threads"]  # those of the worker
        client: Any = PlacingClient(self._client, self._machines)
        model = lightgbm.DaskLGBMClassifier(client=client, n_estimators=rounds, **named)
        model.fit(**parts.learned, **parts.measured, callbacks=list(callbacks))
        return forget_places(model.booster_), model.evals_result_
