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
| `pca:<backbone>:<i>` | a principal component of its embedding |

All but the last mean the same in every fold, and those of a frozen encoder do too; components of
trained networks are for models of one fold alone.

Where a detector from outside has no score, or no embedding, its columns are NaN; spread and margin
are those of the members that have scored the row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from features.core.manifest import count_classes
from features.errors import AlignmentError, ConfigError
from features.settings.stacking import Stack
from stage2_ensemble.columns.basis import Axes, Basis, list_shared
from stage2_ensemble.columns.columns import Floats, FoldColumns, MemberColumns, check_fittable
from stage2_ensemble.columns.dask_arrays import build_by_block, is_spread, list_slices
from stage2_ensemble.columns.projection import apply_all

Matrix = npt.NDArray[np.float32]
LEAST_ROWS = 500
"""Rows of the rarer class that a model needs to see components of embeddings: of each fold, or of
all folds together where the axes are shared."""


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

        `components`: with principal components of every backbone, for one fold alone; without it,
        with those of frozen encoders where there are rows enough. `basis` was fitted on the same
        rows. Raises `ConfigError` where `stack.columns` leaves none.
        """
        axes, parts = {}, []
        places = _choose_components(folds, components)
        for columns in folds:
            check_fittable(columns)
            own = basis[columns.fold]
            axes[columns.fold] = own.axes
            parts.append(_build_all(columns, own.axes, own.distances, places))
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
        named = {name.split(":")[1] for name in self.names if name.startswith("pca:")}
        places = [place for place, name in enumerate(self.backbones) if name in named]
        return _take(self.names, *_build_all(columns, axes, None, places))


def _choose_components(folds: Sequence[FoldColumns], components: bool) -> Sequence[int]:
    """Places of the backbones whose principal components are columns."""
    if components:
        return range(len(folds[0].backbones))
    counts = np.sum([count_classes(columns.labels) for columns in folds], axis=0)
    return list_shared(folds) if counts.min() >= LEAST_ROWS else ()


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


def _measure_spread(logits: Floats) -> Floats:
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
    distances: Sequence[Floats] | None,
    components: Sequence[int],
) -> tuple[tuple[str, ...], Matrix]:
    """Every column that there is, by name; `distances` in place of those of `axes`.

    `components`: places of the backbones whose principal components are among them.
    """
    if any(map(is_spread, [*columns.embeddings, columns.extras])):
        return _build_far(columns, axes, distances, components)
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
    wanted = [
        place
        for place, own in enumerate(axes)
        if place in components or (own.distance and distances is None)
    ]
    found = apply_all([axes[i].projection for i in wanted], [columns.embeddings[i] for i in wanted])
    applied = dict(zip(wanted, found, strict=True))
    for i, (backbone, own) in enumerate(zip(backbones, axes, strict=True)):
        if own.distance is not None:
            names.append(f"distance:{backbone}")
            known = own.distance.score(applied[i]) if distances is None else distances[i]
            values.append(known[:, None])
        if i in components:
            names += [f"pca:{backbone}:{j}" for j in range(applied[i].shape[1])]
            values.append(applied[i])
    if columns.extras is not None:
        names += columns.extra_names
        values.append(columns.extras)
    return tuple(names), np.concatenate(values, axis=1, dtype=np.float32)


def _take(names: Sequence[str], known: Sequence[str], matrix: Matrix) -> Matrix:
    """The columns of these names, in their order. LightGBM itself ignores names and order."""
    places = {name: i for i, name in enumerate(known)}
    if lacking := [name for name in names if name not in places]:
        raise AlignmentError("columns of the table", "no " + ", ".join(lacking), list(names))
    if tuple(names) != tuple(known):
        matrix = matrix[:, [places[name] for name in names]]
    return matrix if is_spread(matrix) else np.ascontiguousarray(matrix)


def _build_far(
    columns: MemberColumns,
    axes: Sequence[Axes],
    distances: Sequence[Floats] | None,
    components: Sequence[int],
) -> tuple[tuple[str, ...], Any]:
    """`_build_all` of rows on a cluster, where the matrix stays: an array of Dask."""
    large: list[Any] = [*columns.embeddings, columns.extras]
    far = [place for place, rows in enumerate(large) if is_spread(rows)]
    own = {field.name: getattr(columns, field.name) for field in fields(MemberColumns)}
    near = _fill(MemberColumns(**own), far, [np.empty((len(columns), 0))] * len(far))

    def cut(rows: slice) -> tuple[MemberColumns, Sequence[Floats] | None]:
        return near.take(rows), None if distances is None else [d[rows] for d in distances]

    none = [np.empty((0, large[place].shape[1]), large[place].dtype) for place in far]
    first, crossed = cut(slice(0))
    names, _ = _build_all(_fill(first, far, none), axes, crossed, components)
    blocks = [cut(rows) for rows in list_slices(len(columns))]
    shared = (axes, components, far)
    arrays = [large[place] for place in far]
    return names, build_by_block(_build_block, shared, blocks, arrays, len(names), len(columns))


def _build_block(
    shared: tuple[Sequence[Axes], Sequence[int], Sequence[int]],
    columns: MemberColumns,
    distances: Sequence[Floats] | None,
    *blocks: npt.NDArray[Any],
) -> Matrix:
    axes, components, far = shared
    return _build_all(_fill(columns, far, blocks), axes, distances, components)[1]


def _fill(
    columns: MemberColumns, places: Sequence[int], blocks: Sequence[npt.NDArray[Any]]
) -> MemberColumns:
    """`columns` with `blocks` at `places` of the embeddings of all backbones and the extras."""
    large: list[Any] = [*columns.embeddings, columns.extras]
    for place, block in zip(places, blocks, strict=True):
        large[place] = block
    return replace(columns, embeddings=tuple(large[:-1]), extras=large[-1])
