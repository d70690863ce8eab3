"""The shape of each column that LightGBM leans on: what it adds to the log-odds, by its value.

Where no tree looks at columns together the model is a sum of such curves, and they are all there is
to know of it. Else a curve is the mean over rows (partial dependence: Friedman, "Greedy function
approximation", Annals of Statistics 29, 2001).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.core.manifest import Ids
from stage2_ensemble.columns.columns import MemberColumns
from stage2_ensemble.explanations.contributions import sample_explained
from stage2_ensemble.models.boosted import Boosted, predict_mean
from stage2_ensemble.models.candidates import Model

MOST = 6
"""Columns that are drawn: those that move the log-odds most."""
BINS = 40
ENDS = (0.5, 99.5)
"""Percentiles of the values that are drawn: a few rows far out would leave no room for the rest."""
ROWS = 200
"""That a curve is the mean over."""
SHAPES = ("column", "value", "added", "rows")


def tabulate_shapes(
    model: Model | None, columns: Sequence[MemberColumns], rows: Ids
) -> pd.DataFrame:
    """A line for each column and bin: `column, value, added, rows`; columns that matter most first.

    `value` is the middle of the bin, `added` what the trees add to the log-odds there, less its
    mean over `rows` (positions of `columns`, one per fold), `rows` the share of them that is in the
    bin. Empty for what has no trees on columns that mean the same in every fold.
    """
    if not (isinstance(model, Boosted) and model.boosters):
        return pd.DataFrame(columns=SHAPES)
    chosen = rows[sample_explained(len(rows))]
    matrix = np.concatenate([model.table.build(c.take(chosen)) for c in columns])
    some = matrix[np.linspace(0, len(matrix) - 1, min(ROWS, len(matrix))).astype(int)]
    found = [_trace(model, matrix, some, place) for place in _list_used(model)]
    curves = [curve for curve in found if curve is not None]
    curves.sort(key=lambda curve: -float(np.average(curve["added"].abs(), weights=curve["rows"])))
    return pd.concat(curves[:MOST], ignore_index=True) if curves else pd.DataFrame(columns=SHAPES)


def _list_used(model: Boosted) -> list[int]:
    """Positions of columns that a tree splits by, those of most gain first."""
    gains = np.sum([b.feature_importance("gain") for b in model.boosters], axis=0)
    order = np.argsort(-gains, kind="stable")[: 3 * MOST]
    return [int(place) for place in order if gains[place] > 0]


def _trace(
    model: Boosted,
    matrix: npt.NDArray[np.float32],
    some: npt.NDArray[np.float32],
    place: int,
) -> pd.DataFrame | None:
    """The lines of one column; `None` where it has one value alone."""
    values = matrix[:, place][np.isfinite(matrix[:, place])]
    if not len(values):
        return None
    low, high = np.percentile(values, ENDS)
    if not low < high:
        return None
    counts, edges = np.histogram(values, BINS, (low, high))
    middles = (edges[1:] + edges[:-1]) / 2
    asked = np.repeat(some[None], BINS, axis=0)
    asked[:, :, place] = middles[:, None]
    added = predict_mean(model.boosters, asked.reshape(-1, some.shape[1]))
    added = added.reshape(BINS, -1).mean(axis=1)
    shares = counts / counts.sum()
    return pd.DataFrame(
        {
            "column": model.table.names[place],
            "value": middles,
            "added": added - np.average(added, weights=shares),
            "rows": shares,
        }
    )
