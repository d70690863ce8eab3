"""Tables of what members are worth: without one of them, by tier, and of those from outside."""

from collections.abc import Mapping
from typing import Any

from features.core.number_text import NO_VALUE, IntervalSide
from features.runtime.costs import UNKNOWN, Cost
from stage2_ensemble.display.layout import Column, Row, TextTable
from stage2_ensemble.results.form import ValMetrics, title_backbone
from stage2_ensemble.sentences.intervals import (
    format_change,
    format_interval,
    judge_difference,
)
from stage2_ensemble.sentences.outside import UNCHECKED

ANSWERS: dict[IntervalSide, str] = {
    "below": "yes",
    "above": "no",
    "around": "unclear",
    "unknown": "too few",
}
"""In a narrow column: is a backbone missed?"""


def format_gap(values: Mapping[str, Any], name: str = "auc") -> str:
    """`+0.0155 [+0.0100, +0.0211]` on two lines; nothing for a metric that has none."""
    return "" if values.get(name) is None else format_change(values, name).replace(" ", "\n", 1)


def build_without(metrics: ValMetrics, costs: Mapping[str, Cost] | None = None) -> TextTable | None:
    """AUC that each backbone is worth, and with `costs` what it takes; `None` for one alone."""
    if not metrics["without"]:
        return None
    names = ("out of fold", "val")
    columns = [Column("left out", folds=True), *(Column(n, "right") for n in names)]
    columns.append(Column("missed"))
    note = ""
    if costs is not None:
        columns += [Column("min", "right"), Column("s", "right")]
        note = "minutes of training and seconds for 1,000 images, all folds, where measured"
    rows = []
    for backbone, values in metrics["without"].items():
        cells = [
            title_backbone(backbone, metrics),
            *(format_gap(values, key) for key in ("auc", "val_auc")),
        ]
        cells.append(ANSWERS[judge_difference(values)])
        if costs is not None:
            cost = costs.get(backbone, UNKNOWN)
            cells += [_format_cost(value) for value in (cost.minutes, cost.seconds)]
        rows.append(Row(tuple(cells)))
    title = f"without a backbone: AUC of what ships ({metrics['val']['shipped']})"
    return TextTable(title, tuple(columns), tuple(rows), note)


def _format_cost(value: float | None) -> str:
    return NO_VALUE if value is None else f"{value:.{0 if value >= 10 else 1}f}"


def build_tiers(metrics: ValMetrics) -> TextTable | None:
    """AUC of each backbone in each tier, and their mean; `None` for one alone or without tiers."""
    found = metrics["robustness"]
    if len(found["backbones"]) < 2:
        return None
    names = (*found["tiers"], "robust (mean)")
    columns = (Column("backbone", folds=True), *(Column(name, "right") for name in names))
    rows = []
    for name, values in found["backbones"].items():
        figures = (*(values["tiers"][tier] for tier in found["tiers"]), values)
        cells = (format_interval(figure).replace(" ", "\n", 1) for figure in figures)
        rows.append(Row((title_backbone(name, metrics), *cells)))
    title = f"backbones by tier: {found['reals']} real and {found['fakes']} fake val rows"
    note = "AUC [95 %]; the rows are the same everywhere, so intervals that overlap may tell apart"
    return TextTable(title, columns, tuple(rows), note)


def build_outside(metrics: ValMetrics) -> TextTable | None:
    """What is declared of detectors from outside, and AUCs on train and val; `None` without any."""
    outside = metrics.get("outside_figures")
    if not outside:
        return None
    columns = (
        Column("detector", folds=True),
        Column("learned from\n(declared)"),
        *(Column(f"AUC on {role}", "right") for role in ("train", "val")),
        Column("train - val", "right"),
        Column("without score", "right", folds=True),
    )
    rows = []
    for name, values in outside.items():
        learned = "none of train" if values["learned_from"] == "none" else "unknown"
        aucs = (format_interval(values[role]).replace(" ", "\n", 1) for role in ("train", "val"))
        lacking = (
            f"{count - values['scored'][role]:,} {role}"
            for role, count in values["rows"].items()
            if count > values["scored"][role]
        )
        cells = (name, learned, *aucs, format_gap(values["difference"]), ", ".join(lacking))
        rows.append(Row(cells))
    return TextTable("detectors from outside", columns, tuple(rows), UNCHECKED)
