"""Figures of the training: learning curves, and what the sampler drew."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from stage2_ensemble.charts.style import (
    BLUE,
    FAKE,
    GREEN,
    GREY,
    REAL,
    RED,
    build_figure,
    cut,
    draw_legend,
)
from stage2_ensemble.results.form import Metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 6
"""Backbones of a figure."""
CURVES = {"raw_auc": ("AUC, last weights", BLUE, "--"), "ema_auc": ("AUC, averaged", RED, "-")}


def draw_learning(_: Metrics, tables: Mapping[str, pd.DataFrame]) -> "Figure":
    """Loss and, where it was measured, AUC on the fold left out; the mean over folds."""
    table = tables["learning"]
    names = list(dict.fromkeys(table["backbone"]))[:MOST]
    figure = build_figure(0.8 + 1.55 * len(names))
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False).ravel()
    handles: dict[str, Any] = {}
    for axes, name in zip(panels, names, strict=True):
        means = _average(table, name)
        handles |= _draw_loss(axes, means)
        for key, (label, colour, dashes) in CURVES.items():
            known = means[key].dropna()
            if len(known):
                handles[label] = _add_axis(axes).plot(known.index, known, dashes, color=colour)[0]
        axes.set_title(cut(name), loc="left")
    panels[-1].set_xlabel("epoch")
    draw_legend(figure, list(handles.values()), list(handles), columns=3)
    return figure


def _average(table: pd.DataFrame, name: str) -> pd.DataFrame:
    return table[table["backbone"] == name].groupby("epoch").mean(numeric_only=True)


def _draw_loss(axes: "Axes", means: pd.DataFrame) -> dict[str, Any]:
    (line,) = axes.plot(means.index, means["loss"], ":", color=GREEN, marker=".")
    axes.set_ylabel("loss")
    axes.set_ylim(bottom=0)
    return {"loss of train": line}


def _add_axis(axes: "Axes") -> "Axes":
    """The axis of AUCs on the right, one for both curves."""
    for other in axes.figure.axes:
        if other.get_label() == f"auc {id(axes)}":
            return other
    other = axes.twinx()
    other.set_label(f"auc {id(axes)}")
    other.spines["right"].set_visible(True)
    other.set_ylabel("AUC")
    return other


def draw_sampler(_: Metrics, tables: Mapping[str, pd.DataFrame]) -> "Figure":
    """Share of reals among what was drawn, and how often one image was, by epoch."""
    table = tables["sampler"]
    names = list(dict.fromkeys(table["backbone"]))[:MOST]
    figure = build_figure(3.9)
    above, below = figure.subplots(2, 1, sharex=True)
    dashes = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 3)))
    for name, dash in zip(names, dashes, strict=False):
        means = _average(table, name)
        above.plot(
            means.index, means["real_share"], linestyle=dash, color=GREY, label=cut(name, 18)
        )
        for kind, colour in (("real", REAL), ("fake", FAKE)):
            label = f"{kind}s" if name == names[0] else None
            below.plot(means.index, means[f"repeats_{kind}_mean"], linestyle=dash, color=colour,
                       label=label)  # fmt: skip
    above.set(ylim=(0, 1), ylabel="share of reals")
    below.set(xlabel="epoch", ylabel="times an\nimage was drawn")
    below.set_ylim(bottom=0)
    handles, labels = above.get_legend_handles_labels()
    own_handles, own_labels = below.get_legend_handles_labels()
    draw_legend(figure, handles + own_handles, labels + own_labels, columns=3)
    return figure
