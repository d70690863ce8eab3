"""The figure of what LightGBM adds to the log-odds, column by column."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from stage2_ensemble.charts.style import GREY, PURPLE, build_figure, cut
from stage2_ensemble.results.form import ValMetrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACROSS = 2
LONGEST = 30


def draw_shapes(_: ValMetrics, tables: Mapping[str, pd.DataFrame]) -> "Figure":
    """A curve for each column, above the histogram of its values."""
    table = tables["shapes"]
    names = list(dict.fromkeys(table["column"]))
    down = -(-len(names) // ACROSS)
    figure = build_figure(height=0.6 + 1.7 * down, width=6.4)
    axes = figure.subplots(down, ACROSS, sharey=True, squeeze=False).ravel()
    for pane, name in zip(axes, names, strict=False):
        own = table[table["column"] == name]
        step = own["value"].iloc[1] - own["value"].iloc[0]
        behind = pane.twinx()
        behind.bar(own["value"], own["rows"], step, color=GREY, alpha=0.25)
        behind.set(ylim=(0, 3 * own["rows"].max()), yticks=[])
        behind.spines["right"].set_visible(False)
        pane.axhline(0, color=GREY, linewidth=0.8, linestyle=":")
        pane.step(own["value"], own["added"], where="mid", color=PURPLE)
        pane.set_title(cut(name, LONGEST), fontsize=10)
        pane.set_zorder(behind.get_zorder() + 1)
        pane.patch.set_visible(False)
    for pane in axes[len(names) :]:
        pane.set_visible(False)
    figure.supylabel("added to the log-odds of fake", fontsize=10)
    return figure


def describe_shapes(tables: Mapping[str, pd.DataFrame]) -> str:
    """The same in words."""
    table = tables["shapes"]
    spans = table.groupby("column", sort=False)["added"].agg(
        lambda added: added.max() - added.min()
    )
    name = spans.index[0]
    return (
        f"What LightGBM adds to the best simple combiner, by the value of a column; bars show how "
        f"many rows have it. Most is moved by {name}, over {spans.iloc[0]:.2f} log-odds."
    )
