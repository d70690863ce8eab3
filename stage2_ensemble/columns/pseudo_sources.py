"""Clusters of reals that look alike to the networks: they stand for sources where none are named.

folds = cluster_reals(folds, 4, settings, seed)
folds[0].sources                                 # (n,) `cluster 1` … of reals, of fakes empty
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from features.core.manifest import Ids
from features.settings.stacking import Stack
from stage2_ensemble.columns.columns import Floats, FoldColumns, check_fittable
from stage2_ensemble.columns.projection import Projection, apply_all, mark_known


def cluster_reals(
    folds: Sequence[FoldColumns], count: int, settings: Stack, seed: int
) -> list[FoldColumns]:
    """The folds with `count` clusters of their reals as `sources`.

    k-means on the principal components of all embeddings, each backbone's scaled to the same
    variance, fold by fold: embeddings of two folds have nothing in common. Clusters of other folds
    get the numbers of those of the first one that are most like them in the columns that mean the
    same in every fold, so that a cluster is left out of all folds at once. As they are where a fold
    has fewer reals than clusters, or no embeddings.
    """
    for columns in folds:
        check_fittable(columns)
    if not all(columns.embeddings for columns in folds):
        return list(folds)
    if min((columns.labels == 0).sum() for columns in folds) < count:
        return list(folds)
    found, first = [], None
    for columns in folds:
        reals = columns.take(columns.labels == 0)
        components = _gather_components(reals, settings, seed)
        if not components.shape[1]:
            return list(folds)
        numbers = _cluster(components, count, seed)
        centres = _measure_centres(reals, numbers, count)
        if first is None:
            first = centres
        _, order = linear_sum_assignment(cdist(centres, first))
        sources = np.full(len(columns), "", object)
        sources[columns.labels == 0] = [f"cluster {order[number] + 1}" for number in numbers]
        found.append(replace(columns, sources=sources))
    return found


def _gather_components(reals: FoldColumns, settings: Stack, seed: int) -> npt.NDArray[np.float32]:
    """`(n, c)` of all backbones; a row that one has no embedding of lies in the middle there."""
    axes = [Projection.fit(e, settings.pca_components, seed) for e in reals.embeddings]
    scaled = [np.empty((len(reals), 0), np.float32)]
    for part in apply_all(axes, reals.embeddings):
        if part.shape[1]:  # else nobody has embeddings of a detector from outside
            spread = float(np.sqrt(part[mark_known(part)].var(axis=0).sum()))
            scaled.append(np.nan_to_num(part / max(spread, 1e-12)))
    return np.concatenate(scaled, axis=1)


def _cluster(components: npt.NDArray[np.float32], count: int, seed: int) -> Ids:
    """`(n,)` numbers of clusters."""
    from sklearn.cluster import KMeans  # late: scoring does without

    model = KMeans(count, n_init=4, random_state=seed)
    return np.asarray(model.fit_predict(components))


def _measure_centres(reals: FoldColumns, numbers: Ids, count: int) -> Floats:
    """`(count, c)` means of log-odds and of what else is known of the pictures, in their spread."""
    values = reals.logits
    if reals.extras is not None:
        values = np.concatenate([values, np.asarray(reals.extras)], axis=1)
    values = np.nan_to_num(values)
    values = (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-12)
    centres = np.zeros((count, values.shape[1]))
    for number in np.unique(numbers):  # not all of them where embeddings are the same
        centres[number] = values[numbers == number].mean(axis=0)
    return centres
