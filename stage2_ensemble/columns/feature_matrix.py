"""The named columns that a LightGBM model sees.

| name | what it is |
|---|---|
| `logit:<backbone>` | log-odds of its member, corrected to the classes of train; means of crops |
| `logit_max:<backbone>` | the highest of its crops' log-odds, corrected |
| `logit_spread:<backbone>` | standard deviation of its crops' log-odds |
| `spread` | standard deviation of these log-odds over the backbones |
| `margin` | the highest of them minus the lowest |
| `distance:<backbone>` | log-odds by the distances of its embedding to the means of both classes |
| `forensic:<name>` | a forensic feature of the picture (`features.forensics`) |
| `file:<name>` | a fact of its file, where `stack.use_file_facts` asks for them |
| `pca:<backbone>:<i>` | a principal component of its embedding: for models of one fold alone |

All but the last mean the same in every fold. A distance uses labels, so rows that a model learns
from have distances of models that were fitted on other rows: cross-fitted by group.

Where a detector from outside has no score, or no embedding, its columns are NaN; spread and margin
are those of the members that have scored the row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Self

import numpy as np
import numpy.typing as npt

from features.errors import AlignmentError, ConfigError
from features.settings.stacking import Stack
from features.splits.folds import split_evenly
from stage2_ensemble.columns.columns import (
    FoldColumns,
    InnerFolds,
    Mask,
    MemberColumns,
    check_fittable,
    count_inner_folds,
)
from stage2_ensemble.columns.projection import (
    Distance,
    Projection,
    apply_all,
    map_parallel,
    mark_known,
)

Matrix = npt.NDArray[np.float32]
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
    distances: list[npt.NDArray[np.float64]] | None
    """Of each backbone `(n,)`, by models of the other inner folds; NaN where it has none."""


Basis = Mapping[int, FoldBasis]
"""By fold: fitted once, for all models that learn from the same rows."""


def fit_basis(folds: Sequence[FoldColumns], settings: Stack, seed: int) -> Basis:
    """On all rows of `folds`."""
    return {columns.fold: _fit_axes(columns, settings, seed) for columns in folds}


@dataclass(frozen=True)
class FeatureMatrix:
    """Columns as they were at the fit: `names` `(c,)`, and by fold the axes of each backbone."""

    backbones: tuple[str, ...]
    names: tuple[str, ...]
    axes: dict[int, tuple[Axes, ...]]

    @classmethod
    def fit(
        cls, folds: Sequence[FoldColumns], settings: Stack, components: bool, basis: Basis
    ) -> tuple[Self, Matrix]:
        """The table, and its rows of `folds`, one fold below the other, distances cross-fitted.

        `components`: with principal components, for one fold alone. `basis` was fitted on the same
        rows. Raises `ConfigError` where `stack.columns` leaves none.
        """
        axes, parts = {}, []
        for columns in folds:
            check_fittable(columns)
            own = basis[columns.fold]
            axes[columns.fold] = own.axes
            parts.append(_build_all(columns, own.axes, own.distances, components))
        known = parts[0][0]
        if any(names != known for names, _ in parts):  # a distance that one fold cannot have
            shared = set(known).intersection(*(names for names, _ in parts))
            known = tuple(name for name in known if name in shared)
        names = choose_names(known, settings.columns)
        rows = np.concatenate([_take(names, *part) for part in parts])
        return cls(folds[0].backbones, names, axes), rows

    def build(self, columns: MemberColumns) -> Matrix:
        """`(n, c)` float32, C-contiguous. Raises `AlignmentError` for other members or columns."""
        if columns.backbones != self.backbones:
            raise AlignmentError("backbones of the table", columns.backbones, self.backbones)
        if columns.fold not in self.axes:
            raise AlignmentError("folds of model and members", columns.fold, list(self.axes))
        axes = self.axes[columns.fold]
        components = any(name.startswith("pca:") for name in self.names)
        return _take(self.names, *_build_all(columns, axes, None, components))


def choose_names(known: Sequence[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """Those that a pattern fits and no pattern with `!` before it; `*` stands for anything.

    Raises `ConfigError` where none is left.
    """
    wanted = [p for p in patterns if not p.startswith("!")] or ["*"]
    unwanted = [p[1:] for p in patterns if p.startswith("!")]
    names = tuple(
        name
        for name in known
        if any(fnmatchcase(name, p) for p in wanted)
        and not any(fnmatchcase(name, p) for p in unwanted)
    )
    if not names:
        problem = f"stack.columns {list(patterns)} fits none of {', '.join(known)}"
        raise ConfigError("params.yaml", [problem])
    return names


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
    found = map_parallel(lambda rows: _fit_distance(rows, columns, crossed), applied)
    axes = tuple(Axes(own, model) for own, (model, _) in zip(projections, found, strict=True))
    return FoldBasis(axes, inner_folds, [distances for _, distances in found])


def _fit_distance(
    components: Matrix, columns: FoldColumns, inner_folds: InnerFolds
) -> tuple[Distance | None, npt.NDArray[np.float64]]:
    """The distance by all rows, and `(n,)` those of models of the other inner folds.

    Rows of NaN are left out; `None` where too few are left for it not to be noise.
    """
    labels, known = columns.labels, mark_known(components)
    crossed = np.full(len(labels), np.nan)
    if _count_least(columns, known) < LEAST_GROUPS:
        return None, crossed
    for inner in range(int(inner_folds.max()) + 1):
        rows = known & (inner_folds != inner)
        if _count_least(columns, rows):
            model = Distance.fit(components[rows], labels[rows])
            crossed[inner_folds == inner] = model.score(components[inner_folds == inner])
    return Distance.fit(components[known], labels[known]), crossed


def _count_least(columns: FoldColumns, rows: Mask) -> int:
    """Groups of the rarer class among `rows` `(n,)`."""
    chosen = ((columns.labels == label) & rows for label in (0, 1))
    return min(len(np.unique(columns.groups[own])) for own in chosen)


def _measure_spread(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """`(n, 2)` standard deviation and range of each row, of what is there of it."""
    found = np.stack([logits.std(axis=1), np.ptp(logits, axis=1)], axis=1)
    gaps = np.isnan(found[:, 0]) & ~np.isnan(logits).all(axis=1)
    own = logits[gaps]
    found[gaps, 0] = np.nanstd(own, axis=1)
    found[gaps, 1] = np.fmax.reduce(own, axis=1) - np.fmin.reduce(own, axis=1)
    return found


def _build_all(
    columns: MemberColumns,
    axes: Sequence[Axes],
    distances: Sequence[npt.NDArray[np.float64]] | None,
    components: bool,
) -> tuple[tuple[str, ...], Matrix]:
    """Every column that there is, by name; `distances` in place of those of `axes`."""
    backbones, logits = columns.backbones, columns.logits
    names = [f"logit:{backbone}" for backbone in backbones]
    values: list[npt.NDArray[np.floating]] = [logits]
    if len(backbones) > 1:
        names += ["spread", "margin"]
        values.append(_measure_spread(logits))
    for backbone, of_crops in zip(backbones, columns.crop_logits, strict=False):
        if of_crops is not None:
            names += [f"logit_max:{backbone}", f"logit_spread:{backbone}"]
            values.append(of_crops)
    wanted = [i for i, own in enumerate(axes) if components or (own.distance and distances is None)]
    found = apply_all([axes[i].projection for i in wanted], [columns.embeddings[i] for i in wanted])
    applied = dict(zip(wanted, found, strict=True))
    for i, (backbone, own) in enumerate(zip(backbones, axes, strict=True)):
        if own.distance is not None:
            names.append(f"distance:{backbone}")
            known = own.distance.score(applied[i]) if distances is None else distances[i]
            values.append(known[:, None])
        if components:
            names += [f"pca:{backbone}:{j}" for j in range(applied[i].shape[1])]
            values.append(applied[i])
    if columns.extras is not None:
        names += columns.extra_names
        values.append(columns.extras)
    return tuple(names), np.concatenate(values, axis=1, dtype=np.float32)


def _take(names: Sequence[str], known: Sequence[str], matrix: Matrix) -> Matrix:
    """The columns of these names, in their order. LightGBM itself ignores names and order."""
    if tuple(names) == tuple(known):
        return np.ascontiguousarray(matrix)
    places = {name: i for i, name in enumerate(known)}
    if lacking := [name for name in names if name not in places]:
        raise AlignmentError("columns of the table", "no " + ", ".join(lacking), list(names))
    return np.ascontiguousarray(matrix[:, [places[name] for name in names]])
