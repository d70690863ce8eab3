"""The named columns that a LightGBM model sees.

| name | what it is |
|---|---|
| `logit:<backbone>` | log-odds of its member, corrected to the classes of train |
| `spread` | standard deviation of these log-odds over the backbones |
| `margin` | the highest of them minus the lowest |
| `distance:<backbone>` | log-odds by the distances of its embedding to the means of both classes |
| `forensic:<name>` | a forensic feature of the picture (`features.forensics`) |
| `file:<name>` | a fact of its file, where `stack.use_file_facts` asks for them |
| `pca:<backbone>:<i>` | a principal component of its embedding: for models of one fold alone |

All but the last mean the same in every fold. A distance uses labels, so rows that a model learns
from have distances of models that were fitted on other rows: cross-fitted by group.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Self

import numpy as np
import numpy.typing as npt

from features.errors import AlignmentError, ConfigError
from features.splits import split_evenly
from features.stack_params import Stack
from stage2_ensemble.columns import Columns, FoldColumns, check_fittable, count_parts
from stage2_ensemble.projection import Distance, Projection

Matrix = npt.NDArray[np.float32]
LEAST_GROUPS = 10
"""Groups of the rarer class below which a distance would be noise: there is no such column."""


@dataclass(frozen=True)
class Axes:
    """What was fitted on the embedding of one backbone in one fold."""

    projection: Projection
    distance: Distance | None


@dataclass(frozen=True)
class Table:
    """Columns as they were at the fit: `names` `(c,)`, and by fold the axes of each backbone."""

    backbones: tuple[str, ...]
    names: tuple[str, ...]
    axes: dict[int, tuple[Axes, ...]]

    @classmethod
    def fit(
        cls, folds: Sequence[FoldColumns], settings: Stack, components: bool, seed: int
    ) -> tuple[Self, Matrix]:
        """The table, and its rows of `folds`, one fold below the other, distances cross-fitted.

        `components`: with principal components, for one fold alone. Raises `ConfigError` where
        `stack.columns` leaves none.
        """
        axes, parts = {}, []
        for columns in folds:
            check_fittable(columns)
            fitted, distances = _fit_axes(columns, settings, seed)
            axes[columns.fold] = fitted
            parts.append(_build_all(columns, fitted, distances, components))
        known = parts[0][0]
        if any(names != known for names, _ in parts):  # a distance that one fold cannot have
            shared = set(known).intersection(*(names for names, _ in parts))
            known = tuple(name for name in known if name in shared)
        names = choose_names(known, settings.columns)
        rows = np.concatenate([_take(names, *part) for part in parts])
        return cls(folds[0].backbones, names, axes), rows

    def build(self, columns: Columns) -> Matrix:
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


def _fit_axes(
    columns: FoldColumns, settings: Stack, seed: int
) -> tuple[tuple[Axes, ...], list[npt.NDArray[np.float64]] | None]:
    """Axes on all rows, and for each backbone the distances `(n,)` of models of other rows."""
    labels = columns.labels
    projections = [Projection.fit(e, settings.pca_components, seed) for e in columns.embeddings]
    if count_parts([columns], LEAST_GROUPS) < LEAST_GROUPS:
        return tuple(Axes(projection, None) for projection in projections), None
    count = count_parts([columns], settings.inner_folds)
    parts = split_evenly(labels, columns.groups, count, seed + columns.fold)
    axes, distances = [], []
    for projection, embeddings in zip(projections, columns.embeddings, strict=True):
        components = projection.apply(embeddings)
        crossed = np.empty(len(columns))
        for part in range(count):
            model = Distance.fit(components[parts != part], labels[parts != part])
            crossed[parts == part] = model.score(components[parts == part])
        axes.append(Axes(projection, Distance.fit(components, labels)))
        distances.append(crossed)
    return tuple(axes), distances


def _build_all(
    columns: Columns,
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
        values.append(np.stack([logits.std(axis=1), np.ptp(logits, axis=1)], axis=1))
    for i, (backbone, own) in enumerate(zip(backbones, axes, strict=True)):
        if own.distance is None and not components:
            continue
        rows = own.projection.apply(columns.embeddings[i])
        if own.distance is not None:
            names.append(f"distance:{backbone}")
            found = own.distance.score(rows) if distances is None else distances[i]
            values.append(found[:, None])
        if components:
            names += [f"pca:{backbone}:{j}" for j in range(rows.shape[1])]
            values.append(rows)
    if columns.extras is not None:
        names += columns.extra_names
        values.append(columns.extras)
    return tuple(names), np.concatenate([v.astype(np.float32) for v in values], axis=1)


def _take(names: Sequence[str], known: Sequence[str], matrix: Matrix) -> Matrix:
    """The columns of these names, in their order. LightGBM itself ignores names and order."""
    places = {name: i for i, name in enumerate(known)}
    if lacking := [name for name in names if name not in places]:
        raise AlignmentError("columns of the table", "no " + ", ".join(lacking), list(names))
    return np.ascontiguousarray(matrix[:, [places[name] for name in names]])
