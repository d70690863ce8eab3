"""What is fitted on embeddings before any model: components, and distances to the classes.

Each network that was trained has axes of its own, so of it that is fitted fold by fold; of a frozen
encoder on the rows of all folds together. A distance uses labels, so rows that a model learns from
have distances of models that were fitted on other rows: cross-fitted by group.

basis = fit_basis(folds, settings, seed)
basis[0].axes[1].projection.apply(folds[0].embeddings[1])
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.core.manifest import Ids
from features.settings.stacking import Stack
from features.splits.folds import split_evenly
from stage2_ensemble.columns.columns import (
    Floats,
    FoldColumns,
    InnerFolds,
    Labels,
    Mask,
    MemberColumns,
    check_fittable,
    count_inner_folds,
)
from stage2_ensemble.columns.embeddings import (
    Embeddings,
    FoldEmbeddings,
    SharedEmbeddings,
    check_one_encoder,
    pool_embeddings,
)
from stage2_ensemble.columns.projection import (
    Distance,
    Projection,
    apply_all,
    map_parallel,
    mark_known,
)

LEAST_GROUPS = 10
"""Groups of the rarer class below which a distance would be noise: there is no such column."""


@dataclass(frozen=True)
class Axes:
    """What was fitted on the embedding of one backbone in one fold."""

    projection: Projection
    distance: Distance | None


@dataclass(frozen=True)
class FoldBasis:
    """What was fitted on the embeddings of one fold's rows."""

    axes: tuple[Axes, ...]
    """Of each backbone."""
    inner_folds: InnerFolds | None
    """`(n,)` of the rows, by group; `None` where they cannot be cut."""
    distances: list[Floats] | None
    """Of each backbone `(n,)`, by models of the other inner folds; NaN where it has none."""


Basis = Mapping[int, FoldBasis]
"""By fold: fitted once, for all models that learn from the same rows."""


def fit_basis(folds: Sequence[FoldColumns], settings: Stack, seed: int) -> Basis:
    """On all rows of `folds`: what a frozen encoder says of them on the rows of all folds together,
    what trained networks say fold by fold.
    """
    shared = list_shared(folds) if len(folds) > 1 else ()  # one fold is pooled as it is
    if not shared:
        return {columns.fold: _fit_axes(columns, settings, seed) for columns in folds}
    rest = [name for place, name in enumerate(folds[0].backbones) if place not in shared]
    own = {columns.fold: _fit_axes(columns.keep(rest), settings, seed) for columns in folds}
    return _add_pooled(folds, own, shared, settings, seed)


def take_embeddings(columns: MemberColumns, place: int) -> Embeddings:
    """Those of the backbone at `place`, by whose axes they have."""
    rows = columns.embeddings[place]
    encoder = columns.encoders[place] if columns.encoders else ""
    return SharedEmbeddings(rows, encoder) if encoder else FoldEmbeddings(rows)


def list_shared(folds: Sequence[FoldColumns]) -> tuple[int, ...]:
    """Places of the backbones whose embeddings may be pooled over folds.

    Raises `AlignmentError` for one whose encoder is frozen in some folds, or another one there.
    """
    found = []
    for place in range(len(folds[0].backbones) if folds[0].embeddings else 0):
        parts = [take_embeddings(columns, place) for columns in folds]
        if any(isinstance(part, SharedEmbeddings) for part in parts):
            check_one_encoder(parts)
            found.append(place)
    return tuple(found)


def _fit_axes(columns: FoldColumns, settings: Stack, seed: int) -> FoldBasis:
    """Axes on all rows, and for each backbone the distances `(n,)` of models of other rows."""
    check_fittable(columns)
    labels = columns.labels
    count = count_inner_folds([columns], settings.inner_folds)
    inner_folds = None
    if count > 1:
        inner_folds = split_evenly(labels, columns.groups, count, seed + columns.fold)
    crossed = inner_folds if count_inner_folds([columns], LEAST_GROUPS) == LEAST_GROUPS else None

    projections = map_parallel(
        lambda embeddings: Projection.fit(embeddings, settings.pca_components, seed),
        columns.embeddings,
    )
    if crossed is None:
        return FoldBasis(tuple(Axes(own, None) for own in projections), inner_folds, None)
    applied = apply_all(projections, columns.embeddings)
    found = map_parallel(lambda rows: _fit_distance(rows, labels, columns.groups, crossed), applied)
    axes = tuple(Axes(own, model) for own, (model, _) in zip(projections, found, strict=True))
    return FoldBasis(axes, inner_folds, [distances for _, distances in found])


def _add_pooled(
    folds: Sequence[FoldColumns], own: Basis, shared: Sequence[int], settings: Stack, seed: int
) -> Basis:
    """`own`, which lacks the backbones at `shared`, with what their rows of all folds give."""
    axes = {fold: list(basis.axes) for fold, basis in own.items()}
    distances = {fold: list(basis.distances or ()) for fold, basis in own.items()}
    for place in shared:  # in their order, so that each finds its place among the others
        pooled_axes, crossed = _fit_pooled(folds, own, place, settings, seed)
        for columns, part in zip(folds, crossed, strict=True):
            axes[columns.fold].insert(place, pooled_axes)
            distances[columns.fold].insert(place, part)
    return {
        fold: FoldBasis(
            tuple(axes[fold]),
            basis.inner_folds,
            None if basis.distances is None else distances[fold],
        )
        for fold, basis in own.items()
    }


def _fit_pooled(
    folds: Sequence[FoldColumns], own: Basis, place: int, settings: Stack, seed: int
) -> tuple[Axes, list[Floats]]:
    """Axes of the frozen encoder at `place`, and of each fold's rows the cross-fitted distances;
    no distance where the rows of a fold cannot be cut.
    """
    parts = check_one_encoder([take_embeddings(columns, place) for columns in folds])
    pooled = pool_embeddings(parts)
    projection = Projection.fit(pooled.rows, settings.pca_components, seed)
    if any(basis.distances is None for basis in own.values()):
        return Axes(projection, None), [np.full(len(columns), np.nan) for columns in folds]
    labels, groups = (
        np.concatenate([getattr(columns, part) for columns in folds])
        for part in ("labels", "groups")
    )
    inner_folds = np.concatenate([own[columns.fold].inner_folds for columns in folds])
    components = projection.apply(pooled.rows)
    model, crossed = _fit_distance(components, labels, groups, inner_folds)
    edges = np.cumsum([len(columns) for columns in folds])[:-1]
    return Axes(projection, model), np.split(crossed, edges)


def _fit_distance(
    components: npt.NDArray[np.float32], labels: Labels, groups: Ids, inner_folds: InnerFolds
) -> tuple[Distance | None, Floats]:
    """The distance by all rows, and `(n,)` those of models of the other inner folds.

    Rows of NaN are left out; `None` where too few are left for it not to be noise.
    """
    known = mark_known(components)
    crossed = np.full(len(labels), np.nan)
    if _count_least(labels, groups, known) < LEAST_GROUPS:
        return None, crossed
    for inner in range(int(inner_folds.max()) + 1):
        rows = known & (inner_folds != inner)
        if _count_least(labels, groups, rows):
            model = Distance.fit(components[rows], labels[rows])
            crossed[inner_folds == inner] = model.score(components[inner_folds == inner])
    return Distance.fit(components[known], labels[known]), crossed


def _count_least(labels: Labels, groups: Ids, rows: Mask) -> int:
    """Groups of the rarer class among `rows` `(n,)`."""
    return min(len(np.unique(groups[(labels == label) & rows])) for label in (0, 1))
