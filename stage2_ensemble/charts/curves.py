"""Figures of scores on val: ROC, precision and recall, reliability, scores by class, confusion."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from features.core.number_text import format_percent
from stage2_ensemble.charts.style import (
    BLUE,
    FAKE,
    GREEN,
    GREY,
    PURPLE,
    REAL,
    RED,
    build_figure,
    draw_legend,
)
from stage2_ensemble.results.form import ValMetrics
from stage2_ensemble.sentences.scorers import name_decider

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = {
    "stack": (RED, "-", 2.4),
    "mean": (BLUE, "--", 1.6),
    "best_single": (GREEN, "-.", 1.6),
    "lightgbm": (PURPLE, ":", 1.8),
}
"""Curves that are drawn: colour, dashes, width."""
NAMES = {"mean": "mean", "best_single": "best single", "lightgbm": "LightGBM"}


def _draw_lines(axes: "Axes", table: pd.DataFrame, x: str, shipped: str) -> None:
    for name, (colour, dashes, width) in LINES.items():
        if name not in table or table[name].isna().all():
            continue
        label = f"{shipped} (ships)" if name == "stack" else NAMES[name]
        order = 3 if name == "stack" else 2
        axes.plot(
            table[x], table[name], dashes, color=colour, linewidth=width, label=label, zorder=order
        )


def draw_roc(metrics: ValMetrics, tables: Mapping[str, pd.DataFrame]) -> "Figure":
    """TPR over a logarithmic FPR, with the point where what ships decides."""
    table, val = tables["roc"], metrics["val"]
    least = find_least_fpr(metrics)
    inside = table[table["fpr"] >= least]
    figure = build_figure()
    axes = figure.subplots()
    axes.plot(inside["fpr"], inside["fpr"], color=GREY, linewidth=0.8)
    _draw_lines(axes, inside, "fpr", val["shipped"])
    answers = metrics["answers"]
    fpr, tpr = (found["fake"]["value"] for found in (answers["reals"], answers["fakes"]))
    name = f"its {name_decider(answers)}"
    axes.plot(max(fpr, least), tpr, "o", color="black", markersize=7, label=name)
    axes.set(xscale="log", xlim=(least, 1), ylim=(0, 1.02))
    axes.set(xlabel="share of reals called fake", ylabel="share of fakes found")
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    draw_legend(figure, *axes.get_legend_handles_labels())
    return figure


def find_least_fpr(metrics: ValMetrics) -> float:
    """One false positive: no curve says anything left of it."""
    return float(max(1e-4, 1 / metrics["rows"]["val"]["reals"]))


def draw_pr(metrics: ValMetrics, tables: Mapping[str, pd.DataFrame]) -> "Figure":
    """Precision over recall, with the share of fakes, which chance reaches."""
    table, rows = tables["pr"], metrics["rows"]["val"]
    chance = rows["fakes"] / (rows["fakes"] + rows["reals"])
    figure = build_figure()
    axes = figure.subplots()
    axes.axhline(chance, color=GREY, linewidth=0.8)
    axes.text(0.01, chance, " chance", color=GREY, va="bottom", fontsize=9.5)
    _draw_lines(axes, table, "recall", metrics["val"]["shipped"])
    axes.set(xlim=(0, 1), ylim=(max(0.0, chance - 0.1), 1.02))
    axes.set(xlabel="share of fakes found", ylabel="share that is fake\nof those called fake")
    draw_legend(figure, *axes.get_legend_handles_labels())
    return figure


def draw_reliability(metrics: ValMetrics, tables: Mapping[str, pd.DataFrame]) -> "Figure":
    """Share of fakes by probability, before and after calibration."""
    figure = build_figure(3.8)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
    for name, colour, marker in (("before", GREY, "s"), ("after", RED, "o")):
        table = tables[f"reliability_{name}"]
        axes.plot(table["predicted"], table["observed"], ":", color=colour, linewidth=1)
        axes.scatter(
            table["predicted"], table["observed"], s=20 + 300 * table["mass"], marker=marker,
            color=colour, alpha=0.85, label=f"{name} calibration",
        )  # fmt: skip
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    axes.set(xlabel="probability of fake", ylabel="share that is fake")
    handles, labels = axes.get_legend_handles_labels()
    for handle in handles:
        handle.set(sizes=[40])
    draw_legend(figure, handles, labels)
    return figure


def draw_histogram(metrics: ValMetrics, tables: Mapping[str, pd.DataFrame]) -> "Figure":
    """Log-odds of what ships, by class, with its threshold or review band."""
    table = tables["score_histogram"]
    figure = build_figure()
    axes = figure.subplots()
    edges = np.append(table["low"], table["high"].iloc[-1])
    for name, colour, hatch in (("real", REAL, ""), ("fake", FAKE, "////")):
        shares = table[name] / max(table[name].sum(), 1)
        axes.stairs(shares, edges, color=colour, fill=True, alpha=0.3)
        axes.stairs(shares, edges, color=colour, hatch=hatch, linewidth=1.4, label=f"{name}s")
    review = metrics["answers"].get("review")
    if review:
        axes.axvspan(review["low"], review["high"], color=PURPLE, alpha=0.2, label="left to review")
    else:
        axes.axvline(metrics["threshold"]["read"], color="black", linestyle="--", linewidth=1.2,
                     label="threshold")  # fmt: skip
    axes.set(xlabel="log-odds of fake", ylabel="share of the class", xlim=(edges[0], edges[-1]))
    draw_legend(figure, *axes.get_legend_handles_labels(), columns=3)
    return figure


def draw_confusion(_: ValMetrics, tables: Mapping[str, pd.DataFrame]) -> "Figure":
    """Counts and shares by label and answer."""
    table = tables["confusion"].set_index("label")
    shares = table.div(table.sum(axis=1).clip(lower=1), axis=0)
    figure = build_figure(2.6)
    axes = figure.subplots()
    axes.set(xlim=(-0.5, len(table.columns) - 0.5), ylim=(1.5, -0.5))
    for y, label in enumerate(table.index):
        for x, answer in enumerate(table.columns):
            share = float(shares.loc[label, answer])
            colour = GREEN if label == answer else PURPLE if answer == "review" else RED
            box = (x - 0.48, y - 0.47)
            axes.add_patch(_build_box(box, colour, 0.12 + 0.5 * share))
            axes.text(
                x,
                y,
                f"{table.loc[label, answer]:,}\n{format_percent(share)}",
                ha="center",
                va="center",
            )
    axes.set_xticks(range(len(table.columns)), [f"called {name}" if name != "review"
                    else "left to review" for name in table.columns])  # fmt: skip
    axes.set_yticks(range(len(table.index)), [f"{name}s" for name in table.index])
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    return figure


def _build_box(corner: tuple[float, float], colour: str, alpha: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(corner, 0.96, 0.94, facecolor=colour, alpha=alpha, edgecolor="none")
