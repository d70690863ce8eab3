"""Figure of which reals are called fake, and which fakes are not, by source and generator."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from stage2_ensemble.charts.style import (
    FAKE,
    REAL,
    Dot,
    build_figure,
    draw_dots,
    draw_legend,
    find_height,
)
from stage2_ensemble.results.form import ValMetrics
from stage2_ensemble.sentences.called_fake import find_main, list_called_fake

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 10
"""Names of a list, the worst ones."""


def list_dots(metrics: ValMetrics) -> list[tuple[str, Dot]]:
    """Class and dot of each name that is shown."""
    found = metrics["called_fake"]
    return [
        (
            kind,
            Dot(
                entry["name"],
                entry["called_fake"],
                entry["called_fake_low"],
                entry["called_fake_high"],
            ),
        )
        for kind, column in find_main(found)
        for entry in found[kind][column][:MOST]
    ]


def draw_called_fake(metrics: ValMetrics, _: Mapping[str, pd.DataFrame]) -> "Figure":
    """Share called fake by name, with a line where that of all rows of the class lies."""
    dots = list_dots(metrics)
    styles = {"reals": (REAL, "o"), "fakes": (FAKE, "s")}
    colours, markers = zip(*(styles[kind] for kind, _ in dots), strict=True)
    figure = build_figure(find_height(len(dots), 1.4))
    axes = figure.subplots()
    draw_dots(axes, [dot for _, dot in dots], colours, markers)
    for kind in ("reals", "fakes"):
        colour, marker = styles[kind]
        rate = metrics["called_fake"][kind]["all"]["called_fake"]
        axes.axvline(rate, color=colour, linewidth=0.9, linestyle=":")
        axes.plot([], [], marker, linestyle=":", color=colour, label=f"{kind} (line: all)")
    axes.set(xlabel="share called fake", xlim=(-0.02, 1.02))
    draw_legend(figure, *axes.get_legend_handles_labels())
    return figure


def describe_called_fake(metrics: ValMetrics) -> str:
    """The same in words."""
    found = metrics["called_fake"]
    listed = sum(len(found[kind][column]) for kind, column in find_main(found))
    hidden = listed - len(list_dots(metrics))
    more = [f"{hidden:,} more are not shown."] if hidden else []
    return " ".join([*list_called_fake(found), *more])
