"""Figures of values with intervals: scorers, generators, backbones left out, changed pictures."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from features.artifacts.perturbed import CLEAN
from features.core.number_text import format_percent
from stage2_ensemble.charts.style import (
    BLUE,
    GREEN,
    GREY,
    PURPLE,
    RED,
    Dot,
    build_figure,
    cut,
    draw_dots,
    draw_legend,
    find_height,
)
from stage2_ensemble.explanations.contributions import BACKBONE
from stage2_ensemble.findings.tables import Entry, list_scorers, list_subgroups
from stage2_ensemble.results.form import ValMetrics, title_member
from stage2_ensemble.sentences.intervals import format_change, format_interval
from stage2_ensemble.sentences.other_data import (
    describe_gap,
    describe_robust,
    describe_variant,
    find_worst,
)
from stage2_ensemble.sentences.scorers import describe_null_model

if TYPE_CHECKING:
    from matplotlib.figure import Figure


MOST = 24
"""Lines of a figure: the best and the worst of more."""
SHOWN = {"stack": ("what ships", RED, "o", "-"), "mean": ("mean", BLUE, "s", "--"),
           "best_single": ("best single", GREEN, "^", "-.")}  # fmt: skip


def draw_scorers(metrics: ValMetrics, _: Mapping[str, pd.DataFrame]) -> "Figure":
    """AUC of everything that scores."""
    shipped = metrics["val"]["shipped"]
    scorers = list_scorers(metrics)
    members = [entry for entry in scorers if entry[0] == "member"]
    if len(members) > MOST // 2:  # the best and the worst half of what there is room for
        members.sort(key=lambda entry: -entry[2]["auc"])
        kept = [*members[: MOST // 4], *members[-MOST // 4 :]]
        scorers = [entry for entry in scorers if entry[0] != "member" or entry in kept]
    dots, colours, markers = [], [], []
    for kind, name, values in scorers:
        ships = name == shipped and kind == "candidate"
        title = f"{name} (ships)" if ships else title_member(name, metrics)
        dots.append(_read_dot(title, values))
        colours.append(RED if ships else GREY if kind == "null model" else BLUE)
        markers.append("o" if kind == "candidate" else "x" if kind == "null model" else "s")
    figure = build_figure(find_height(len(dots)))
    axes = figure.subplots()
    draw_dots(axes, dots, colours, markers)
    axes.axvline(0.5, color=GREY, linewidth=0.8, linestyle=":")
    axes.set(xlabel="AUC")
    return figure


def _read_dot(name: str, values: Mapping[str, Any], key: str = "auc") -> Dot:
    ends = (values.get(f"{key}_low"), values.get(f"{key}_high"))
    return Dot(name, values[key], *ends, values.get("null_auc"))


def describe_scorers(metrics: ValMetrics) -> str:
    """The same in words."""
    val = metrics["val"]
    members = val["members"]
    best = max(members, key=lambda name: members[name]["auc"])
    more = ""
    if len(members) > MOST // 2:
        more = f" Of {len(members)} members the best and the worst {MOST // 4} are shown."
    return (
        f"{val['shipped']} ships with {_describe(val['stack'])}; the best member on val is "
        f"{title_member(best, metrics)} "
        f"with {_describe(members[best])}; the null model has "
        f"{describe_null_model(val['null_model'])}.{more}"
    )


def draw_subgroups(metrics: ValMetrics, _: Mapping[str, pd.DataFrame]) -> "Figure":
    """AUC of what ships by generator and domain, the null model's beside."""
    subgroups = cut_subgroups(metrics)
    dots, colours, markers = [], [], []
    for kind, name, values in subgroups:
        domain = values.get("domain", "seen") if kind == "generator" else name
        dots.append(_read_dot(name if kind == "generator" else f"all {name}", values))
        colours.append(BLUE if domain == "seen" else PURPLE)
        markers.append("o" if domain == "seen" else "D")
    figure = build_figure(find_height(len(dots), 1.4))
    axes = figure.subplots()
    draw_dots(axes, dots, colours, markers, "null model")
    for label, colour, marker in (("seen in train", BLUE, "o"), ("not seen", PURPLE, "D")):
        if colour in colours:
            axes.plot([], [], marker, color=colour, label=label)
    axes.axvline(0.5, color=GREY, linewidth=0.8, linestyle=":")
    axes.set(xlabel="AUC")
    draw_legend(figure, *axes.get_legend_handles_labels(), columns=3)
    return figure


def cut_subgroups(metrics: ValMetrics) -> list[Entry]:
    """As many as there is room for: all domains, and the generators with the lowest AUC."""
    measured = [subgroup for subgroup in list_subgroups(metrics) if subgroup[2]["auc"] is not None]
    generators = [subgroup for subgroup in measured if subgroup[0] == "generator"]
    worst = sorted(generators, key=lambda subgroup: subgroup[2]["auc"])[: MOST - 3]
    names = {name for _, name, _ in worst}
    return [subgroup for subgroup in measured if subgroup[0] == "domain" or subgroup[1] in names]


def describe_subgroups(metrics: ValMetrics) -> str:
    """The same in words."""
    subgroups = cut_subgroups(metrics)
    worst = min(subgroups, key=lambda subgroup: subgroup[2]["auc"])
    text = f"Lowest on {cut(worst[1], 40)}: {_describe(worst[2])}, on {worst[2]['against']}."
    if gap := metrics["domains"].get("gap"):
        text += f" {describe_gap(gap)}."
    if hidden := len(list_subgroups(metrics)) - len(subgroups):
        text += f" {hidden} more, with higher AUC or none, are not shown."
    return text


def draw_without(metrics: ValMetrics, _: Mapping[str, pd.DataFrame]) -> "Figure":
    """Change of AUC where one backbone is left out, out of fold and on val."""
    names = list(metrics["without"])
    figure = build_figure(find_height(2 * len(names), 1.3))
    axes = figure.subplots()
    for shift, key, label, colour, marker in (
        (-0.15, "auc", "out of fold", BLUE, "o"),
        (0.15, "val_auc", "val", PURPLE, "D"),
    ):
        for place, name in enumerate(names):
            dot = _read_dot(name, metrics["without"][name], key)
            line = place + shift
            if dot.low is not None and dot.high is not None:
                axes.plot([dot.low, dot.high], [line, line], color=colour)
            axes.plot(dot.value, line, marker, color=colour, label=label if not place else None)
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set_yticks(range(len(names)), [f"without {cut(name, 18)}" for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=5)
    axes.set(xlabel="change of AUC")
    draw_legend(figure, *axes.get_legend_handles_labels())
    return figure


def describe_without(metrics: ValMetrics) -> str:
    """The same in words."""
    parts = [
        f"without {name} {format_change(values)}" for name, values in metrics["without"].items()
    ]
    return f"Out of fold: {'; '.join(parts)} AUC. An interval left of 0: it is missed."


def draw_blocks(metrics: ValMetrics, _: Mapping[str, pd.DataFrame]) -> "Figure":
    """How far each block of columns moves the log-odds of what ships, or of LightGBM beside it."""
    name = find_explained(metrics)
    blocks = metrics["blocks"][name]
    values = {block.removeprefix(BACKBONE): entry["contribution"] or 0.0 for block, entry in
              blocks.items()}  # fmt: skip
    total = sum(values.values()) or 1.0
    order = sorted(values, key=lambda block: -values[block])[:MOST]
    figure = build_figure(find_height(len(order)))
    axes = figure.subplots()
    is_network = [BACKBONE + block in blocks for block in order]
    bars = axes.barh(range(len(order)), [values[b] for b in order], height=0.66,
                     color=[RED if own else BLUE for own in is_network])  # fmt: skip
    labels = [f" {format_percent(values[block] / total)}" for block in order]
    axes.bar_label(bars, labels, fontsize=9.5)
    axes.set_yticks(range(len(order)), [cut(block) for block in order])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.set(xlabel=f"mean change of {name}'s log-odds")
    axes.margins(x=0.12)
    return figure


def find_explained(metrics: ValMetrics) -> str:
    """What ships, if its log-odds are a sum over columns; else the first that is."""
    shipped = metrics["val"]["shipped"]
    for name in (shipped, *metrics["blocks"]):
        entries = metrics["blocks"].get(name, {}).values()
        if entries and all(entry["contribution"] is not None for entry in entries):
            return str(name)
    return ""


def describe_blocks(metrics: ValMetrics) -> str:
    """The same in words."""
    name = find_explained(metrics)
    blocks = metrics["blocks"][name]
    moved = {block: entry["contribution"] or 0.0 for block, entry in blocks.items()}
    total = sum(moved.values()) or 1.0
    order = sorted(moved, key=lambda block: -moved[block])[:3]
    parts = [f"{b.removeprefix(BACKBONE)} {format_percent(moved[b] / total)}" for b in order]
    beside = "" if name == metrics["val"]["shipped"] else ", which does not ship,"
    return f"{name}{beside} is moved most by {', '.join(parts)}. Networks red, all else blue."


def draw_robustness(_: ValMetrics, tables: Mapping[str, pd.DataFrame]) -> "Figure":
    """AUC by tier and by strength of each perturbation: what ships, the mean, the best single
    network.
    """
    parts = _split_panels(tables["robustness"])
    rows = -(-len(parts) // 2)
    figure = build_figure(1.0 + 1.75 * rows)
    panels = figure.subplots(rows, 2, sharey=True, squeeze=False).ravel()
    for axes, (name, table) in zip(panels, parts.items(), strict=False):
        ticks = list(dict.fromkeys(table["tick"]))
        for number, (scorer, (label, colour, marker, dashes)) in enumerate(SHOWN.items()):
            values = table[table["scorer"] == scorer]
            places = [place + 0.12 * (number - 1) for place in range(len(values))]
            axes.plot(places, values["auc"], dashes, marker=marker, color=colour, markersize=4,
                      linewidth=1.2, label=label)  # fmt: skip
            axes.vlines(places, values["auc_low"], values["auc_high"], color=colour, linewidth=1)
        axes.set_title(name, loc="left")
        axes.set_xticks(range(len(ticks)), ticks)
        axes.tick_params(axis="x", labelsize=9.5)
    for axes in panels[len(parts) :]:
        axes.set_visible(False)
    for axes in panels[::2]:
        axes.set_ylabel("AUC")
    handles, labels = panels[0].get_legend_handles_labels()
    draw_legend(figure, handles, labels, columns=3)
    return figure


def _split_panels(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each panel with their `tick`: the tiers, and each perturbation by strength.

    Pictures as they are stand first in all of them.
    """
    ticks = [
        perturbation if np.isnan(strength) else f"{strength:g}"
        for perturbation, strength in zip(table["perturbation"], table["strength"], strict=True)
    ]
    table = table.assign(tick=ticks)
    tiers, rest = table[table["strength"].isna()], table[table["strength"].notna()]
    clean = tiers[tiers["perturbation"] == CLEAN]
    found = {"tiers": tiers} if len(tiers) > len(clean) else {}
    for name, own in rest.groupby("perturbation", sort=False):
        found[str(name)] = pd.concat([clean, own])
    return found


def has_robustness(tables: Mapping[str, pd.DataFrame]) -> bool:
    """Anything was measured on changed pictures."""
    return "robustness" in tables and bool(tables["robustness"]["change"].notna().any())


def describe_robustness(metrics: ValMetrics) -> str:
    """The same in words."""
    robustness = metrics["robustness"]
    text = f"On {robustness['rows']:,} rows of val."
    if robustness["robust"]:
        text += f" Robust AUC {describe_robust(robustness)}."
    if worst := find_worst(robustness):
        text += f" What ships loses most under {describe_variant(worst)}."
    return text


def _describe(values: Mapping[str, Any]) -> str:
    return f"AUC {format_interval(values)}"
