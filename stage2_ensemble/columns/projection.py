"""What is made of the embeddings of one backbone in one fold: components, and a class score.

Embedding axes of two separately trained networks have nothing to do with each other, so all this
belongs to the network of one fold. A class score is free of axes: it means the same in every fold.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
import scipy.linalg  # noqa: F401
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from features.errors import AlignmentError
from stage2_ensemble.columns.columns import Floats, Labels, Mask
from stage2_ensemble.columns.dask_arrays import count_known, fit_incremental, is_spread, map_rows
from stage2_ensemble.columns.memory_map import copy_rows, release_pages

PCA_ROWS = 20_000
"""Components are fitted on at most so many rows; more do not change them (12.8 s at 147,363)."""
LEAST_ROWS = 2
BLOCK = 4_096
# Sums of several threads, so the bytes of a model, depend on their number: one thread for each sum.
_THREADS = ThreadpoolController()  # of the BLAS of numpy and of scipy.linalg, by now loaded
_T = TypeVar("_T")
_R = TypeVar("_R")


def mark_known(rows: npt.NDArray[np.floating]) -> Mask:
    """`(n,)`: rows of `(n, d)` values that have something, and no NaN."""
    return np.asarray(~np.isnan(rows).any(axis=1) & (rows.shape[1] > 0))


def map_parallel(work: Callable[[_T], _R], tasks: Sequence[_T]) -> list[_R]:
    """`work` on each, side by side, in their order: the same bytes with any number of cores."""
    count = max(1, min(len(tasks), os.cpu_count() or 1))
    with _THREADS.limit(limits=1, user_api="blas"), ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, tasks))


@dataclass(frozen=True)
class Projection:
    """Principal components of one backbone's embedding: `mean` `(d,)`, `components` `(c, d)`."""

    mean: npt.NDArray[np.float32]
    components: npt.NDArray[np.float32]

    @classmethod
    def fit(cls, embeddings: npt.NDArray[np.float16], components: int, seed: int) -> Self:
        """min(`components`, n // 4, d) components of `(n, d)` embeddings.

        n counts rows without NaN alone; none where the embedding has no width, or fewer than 2 rows
        have it. Those that lie on a cluster teach all, of those that are here `PCA_ROWS`.
        """
        if is_spread(embeddings):
            return cls._fit_far(embeddings, components)
        from sklearn.decomposition import PCA  # late: scoring does without

        n, width = embeddings.shape
        rows = np.arange(n)
        if n > PCA_ROWS:
            rows = np.sort(np.random.default_rng(seed).choice(n, PCA_ROWS, replace=False))
        taken = copy_rows(embeddings, rows, np.float32)
        if (known := mark_known(taken)).sum() < len(taken):
            taken = taken[known]
            n = n * len(taken) // len(rows)
        count = max(1, min(components, n // 4, width))
        if not width or len(taken) < LEAST_ROWS:
            return cls._fit_nothing(width)
        with _THREADS.limit(limits=1, user_api="blas"):
            model = PCA(count, svd_solver="covariance_eigh", copy=False)
            model.fit(taken)
        return cls(model.mean_.astype(np.float32), model.components_.astype(np.float32))

    @classmethod
    def _fit_far(cls, embeddings: Any, components: int) -> Self:
        known, width = count_known(embeddings), embeddings.shape[1]
        if known < LEAST_ROWS:
            return cls._fit_nothing(width)
        count = max(1, min(components, known // 4, width))
        return cls(*(part.astype(np.float32) for part in fit_incremental(embeddings, count)))

    @classmethod
    def _fit_nothing(cls, width: int) -> Self:
        return cls(np.zeros(width, np.float32), np.empty((0, width), np.float32))

    def apply(self, embeddings: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
        """`(n, d)` to `(n, c)`, in blocks, so that a memory-mapped array never lies in memory."""
        return apply_all([self], [embeddings])[0]

    def _apply_block(self, block: npt.NDArray[np.float16], out: npt.NDArray[np.float32]) -> None:
        rows = block.astype(np.float32)
        rows -= self.mean
        np.matmul(rows, self.components.T, out=out)


def apply_all(
    projections: Sequence[Projection], embeddings: Sequence[npt.NDArray[np.float16]]
) -> list[npt.NDArray[np.float32]]:
    """Each on its backbone: blocks of all are shared out to the cores, with the same bytes."""
    for own, array in zip(projections, embeddings, strict=True):
        if array.shape[1] != len(own.mean):
            raise AlignmentError("embedding widths", array.shape[1], len(own.mean))
    if any(map(is_spread, embeddings)):
        return _apply_far(projections, embeddings)
    found = [
        np.empty((len(array), len(own.components)), np.float32)
        for own, array in zip(projections, embeddings, strict=True)
    ]

    def apply(task: tuple[int, int]) -> None:
        start, place = task
        rows = slice(start, start + BLOCK)
        projections[place]._apply_block(embeddings[place][rows], found[place][rows])
        release_pages(embeddings[place])

    starts = range(0, max(map(len, embeddings), default=0), BLOCK)
    map_parallel(apply, [(start, i) for start in starts for i in range(len(embeddings))])
    return found


def _apply_far(
    projections: Sequence[Projection], embeddings: Sequence[Any]
) -> list[npt.NDArray[np.float32]]:
    """The same on a cluster, but for those whose rows are here."""
    import dask  # late: an extra

    pairs = zip(projections, embeddings, strict=True)
    found = [
        map_rows(own.apply, rows, len(own.components), np.float32)
        if is_spread(rows)
        else own.apply(rows)
        for own, rows in pairs
    ]
    return list(dask.compute(*found))


@dataclass(frozen=True)
class Distance:
    """How much nearer to the mean of the fakes than to that of the reals, by components `(n, c)`.

    Half the difference of the squared Mahalanobis distances, under one covariance for both classes
    whose correlations are shrunk towards none (Ledoit and Wolf, "A well-conditioned estimator for
    large-dimensional covariance matrices", 2004): linear discriminant analysis.
    """

    coefficients: Floats
    intercept: float

    @classmethod
    def fit(cls, components: npt.NDArray[np.float32], labels: Labels) -> Self:
        """Both classes count the same."""
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis  # late

        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=[0.5, 0.5])
        with _THREADS.limit(limits=1, user_api="blas"):
            model.fit(components.astype(np.float64), labels)
        return cls(model.coef_[0], float(model.intercept_[0]))

    def score(self, components: npt.NDArray[np.float32]) -> Floats:
        """`(n,)` log-odds of fake, if both classes were normal; NaN for a row of NaN."""
        with _THREADS.limit(limits=1, user_api="blas"):
            return np.asarray(components @ self.coefficients + self.intercept)
