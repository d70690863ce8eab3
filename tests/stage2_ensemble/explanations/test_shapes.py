"""What LightGBM adds by each column, against scores of its own."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_world import draw_columns, hold_out

from features.settings.stacking import Stack
from stage2_ensemble.charts.shapes import describe_shapes, draw_shapes
from stage2_ensemble.charts.style import use_style
from stage2_ensemble.columns.columns import FoldColumns
from stage2_ensemble.explanations.shapes import SHAPES, tabulate_shapes
from stage2_ensemble.models.boosted import Boosted
from stage2_ensemble.models.candidates import fit_candidate

SETTINGS = Stack(
    inner_folds=3, bags=1, num_leaves=2, learning_rate=0.2, max_rounds=60, columns=("forensic:*",)
)


def draw_marked(strengths: tuple[float, ...], seed: int = 0) -> FoldColumns:
    """Forensic columns that rise with the label, as much as each is told to."""
    columns = draw_columns(reals=300, fakes=300, hidden=0.0, seed=seed)
    noise = np.random.default_rng(seed).normal(size=(600, len(strengths)))
    marks = noise + np.outer(2.0 * columns.labels - 1, strengths)
    names = tuple(f"forensic:mark:{i}" for i in range(len(strengths)))
    return replace(columns, extras=marks.astype(np.float32), extra_names=names)


@pytest.fixture(scope="module")
def fitted() -> tuple[Boosted, FoldColumns]:
    columns = draw_marked((0.2, 1.0, 0.6))
    model = fit_candidate("lightgbm", [columns], SETTINGS, 0)
    assert isinstance(model, Boosted)
    return model, columns


def test_columns_come_by_how_far_they_move_the_score(fitted):
    model, columns = fitted
    table = tabulate_shapes(model, [hold_out(columns)], np.arange(600))
    names = list(dict.fromkeys(table["column"]))
    assert names[:2] == ["forensic:mark:1", "forensic:mark:2"]
    for name, own in table.groupby("column"):
        assert own["rows"].sum() == pytest.approx(1.0)
        assert np.average(own["added"], weights=own["rows"]) == pytest.approx(0.0, abs=1e-9), name
    first = table[table["column"] == names[0]]["added"].to_numpy()
    assert first[-1] - first[0] > 1.0  # high values speak for a fake


def test_with_two_leaves_the_curves_are_all_there_is(fitted):
    """Two rows that differ in one column differ in score by its curve."""
    model, columns = fitted
    table = tabulate_shapes(model, [columns], np.arange(600))
    own = table[table["column"] == "forensic:mark:1"]
    low, high = own.iloc[5], own.iloc[-5]
    pair = columns.take(np.array([7, 7]))
    marks = pair.extras.copy()
    marks[:, 1] = low["value"], high["value"]
    scores = model.score(replace(pair, extras=marks))
    assert scores[1] - scores[0] == pytest.approx(high["added"] - low["added"], abs=1e-6)


def test_without_trees_there_is_nothing_to_draw(fitted):
    model, columns = fitted
    for other in (None, replace(model, boosters=())):
        assert list(tabulate_shapes(other, [columns], np.arange(600)).columns) == list(SHAPES)
        assert tabulate_shapes(other, [columns], np.arange(600)).empty


def test_the_figure_has_a_pane_for_each_column_and_says_which_matters_most(fitted):
    model, columns = fitted
    table = tabulate_shapes(model, [columns], np.arange(600))
    with use_style():
        figure = draw_shapes(None, {"shapes": table})
    titles = [axes.get_title() for axes in figure.axes if axes.get_visible() and axes.get_title()]
    assert titles == list(dict.fromkeys(table["column"]))
    assert "Most is moved by forensic:mark:1" in describe_shapes({"shapes": table})
