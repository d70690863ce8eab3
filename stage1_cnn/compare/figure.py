"""The figure of a comparison: AUC and accuracy of every entry, over rows where these differ."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from features.core.files import write_atomic
from stage1_cnn.compare.statistics import SUFFIX, Entry, Measure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Told apart by the colour-blind (Okabe and Ito, Color Universal Design, 2008)."""
MARKERS = "osD^vPX"
PANELS: tuple[tuple[Measure, str], ...] = (("auc", "AUC"), ("accuracy", "accuracy"))
WIDTH = 8.0
"""Inches: at 100 dots an inch, letters of 10 points are read well in 800 pixels."""
DODGE = 0.04
"""Entries stand apart by this share of the axis, so that their bars do not hide each other."""
FAINT = 0.35

HIGHEST = 1.01
"""Where the axes end: intervals of few seeds reach past 1, the measures do not."""


def write_figure(entries: Sequence[Entry], title: str, path: Path) -> None:
    """Draws means, their 95 % intervals and, faintly, the single seeds, as a PNG.

    Over the number of rows where there are several, else one line for each entry.
    """
    import matplotlib as mpl  # late: half a second that only this needs
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    names = list(dict.fromkeys(entry.name for entry in entries))
    is_curve = len({entry.rows for entry in entries}) > 1
    columns = _count_columns(names)
    height = 3.6 + 0.25 * -(-len(names) // columns) if is_curve else 1.6 + 0.4 * len(names)
    with mpl.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        layout = ConstrainedLayoutEngine(wspace=0.08)  # or the two axes' numbers touch
        figure = Figure(figsize=(WIDTH, height), layout=layout)
        panels = figure.subplots(1, 2, sharex=is_curve, sharey=not is_curve)
        for axes, (measure, label) in zip(panels, PANELS, strict=True):
            draw = _draw_curves if is_curve else _draw_dots
            draw(axes, entries, names, measure, label)
        if is_curve:
            handles, labels = panels[0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
        figure.suptitle(title, fontsize=11)
        with write_atomic(path) as file:
            figure.savefig(file, dpi=200, format="png")


def _count_columns(names: Sequence[str]) -> int:
    """Columns of the legend, which is filled column by column: a variant above its EMA."""
    averaged = any(name.endswith(SUFFIX["ema"]) for name in names)
    return min(3, -(-len(names) // 2) if averaged else len(names))


def _style_entry(names: Sequence[str], name: str) -> dict[str, Any]:
    """A colour and a marker for each variant; its EMA is dashed and hollow."""
    variants = list(dict.fromkeys(n.removesuffix(SUFFIX["ema"]) for n in names))
    place = variants.index(name.removesuffix(SUFFIX["ema"]))
    colour = COLOURS[place % len(COLOURS)]
    is_average = name.endswith(SUFFIX["ema"])
    return {
        "color": colour,
        "marker": MARKERS[place % len(MARKERS)],
        "linestyle": "--" if is_average else "-",
        "markerfacecolor": "white" if is_average else colour,
    }


def _draw_curves(
    axes: Any, entries: Sequence[Entry], names: Sequence[str], measure: Measure, label: str
) -> None:
    """`measure` over rows, on a logarithmic axis."""
    sizes = sorted({entry.rows for entry in entries})
    span = np.log(sizes[-1] / sizes[0])
    beside = np.exp(span * DODGE / 2.5)
    for place, name in enumerate(names):
        own = [entry for entry in entries if entry.name == name]
        shift = np.exp(span * DODGE * (place - (len(names) - 1) / 2))
        x = np.array([entry.rows for entry in own]) * shift
        means = [entry.means[measure].mean for entry in own]
        halves = [entry.means[measure].half or 0.0 for entry in own]
        style = _style_entry(names, name)
        for at, entry in zip(x, own, strict=True):
            points = entry.points[measure]
            _draw_seeds(axes, [at * beside] * len(points), points, style["color"])
        axes.errorbar(x, means, halves, label=name, capsize=3, linewidth=1.4, **style)
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("rows to learn from")
    axes.set_ylabel(label)
    axes.set_ylim(top=min(axes.get_ylim()[1], HIGHEST))
    axes.grid(axis="y", alpha=0.25)


def _draw_dots(
    axes: Any, entries: Sequence[Entry], names: Sequence[str], measure: Measure, label: str
) -> None:
    """A line for each entry, the first one on top."""
    for place, entry in enumerate(entries):
        mean, style = entry.means[measure], _style_entry(names, entry.name)
        points = entry.points[measure]
        _draw_seeds(axes, points, [place + 0.22] * len(points), style["color"])
        axes.errorbar(mean.mean, place, xerr=mean.half or 0.0, capsize=3, linewidth=1.4, **style)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(label)
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlim(right=min(axes.get_xlim()[1], HIGHEST))
    axes.grid(axis="x", alpha=0.25)


def _draw_seeds(axes: Any, x: Sequence[float], y: Sequence[float], colour: str) -> None:
    axes.plot(x, y, ".", color=colour, alpha=FAINT, markersize=7, markeredgewidth=0)
