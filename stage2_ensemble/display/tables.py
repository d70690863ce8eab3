"""Tables of `metrics.json`, for the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from features.core.number_text import NO_VALUE, format_figure, format_percent
from features.runtime.costs import UNKNOWN, Cost
from stage2_ensemble.display.cells import (
    format_gap,
    format_interval,
)
from stage2_ensemble.findings.contributions import BACKBONE
from stage2_ensemble.findings.promises import describe_promised
from stage2_ensemble.findings.reasons import BETTER, MISSED, NOT_TOLD, TOO_FEW, judge_loss
from stage2_ensemble.findings.robustness import SCORERS, name_variant
from stage2_ensemble.findings.scorers import NOT_RELIABLE, TITLES, describe_mixed
from stage2_ensemble.measures.resampling import LEAST_GROUPS
from stage2_ensemble.models.candidates import GATED
from stage2_ensemble.results.form import Block, Promise, ValMetrics
from stage2_ensemble.results.scores import (
    Comparison,
    Generator,
    list_combiners,
    list_domains,
)

SHOWN = {
    "ap": "AP",
    "balanced_accuracy": "bal.\nacc.",
    "accuracy": "acc.",
    "tpr_at_fpr_1e-2": "TPR at\nFPR 1 %",
    "log_loss": "log\nloss",
}
NULL = "null model"
MARK = "*"
ANSWERS = {MISSED: "yes", BETTER: "no", NOT_TOLD: "unclear", TOO_FEW: "too few"}
"""In a narrow column: is a backbone missed?"""
FEW = f"fewer than {LEAST_GROUPS} groups of a class: {NOT_RELIABLE}"


def build_robustness(metrics: ValMetrics) -> Table:
    """What ships under each variant, its change and rates; the AUCs of the others beside."""
    found, shipped = metrics["robustness"], metrics["val"]["shipped"]
    rows = f"{found['reals']} real and {found['fakes']} fake val rows"
    title = f"perturbed pictures: {found['note'] or rows}"
    caption = f"AUC, change and rates at its threshold: what ships ({shipped})"
    if found["rows"] and not found["reliable"]:
        caption += f"; fewer than {LEAST_GROUPS} groups of a class: intervals not reliable"
    table = Table(title=title, box=SIMPLE, padding=0, caption=caption)
    table.add_column("picture", overflow="fold")
    others = [name for name in SCORERS if name != "stack"]
    for name in ("AUC [95 %]", "change", "FPR", "TPR", *(n.replace("_", "\n") for n in others)):
        table.add_column(name, justify="right", no_wrap=True)
    for variant in found["variants"]:
        scorers = variant["scorers"]
        values = scorers["stack"]
        rates = (format_figure(rate) for rate in (values["fpr"], values["tpr"]))
        change = format_gap(values, "change")
        name = "as it is" if variant["strength"] is None else name_variant(variant)
        aucs = (format_figure(scorers[other]["auc"]) for other in others)
        table.add_row(name, format_interval(values), change, *rates, *aucs)
    return table


def build_table(metrics: ValMetrics) -> Table:
    """Members first, then the combiners, then the null model; what ships is marked."""
    rows = metrics["rows"]["val"]
    table = Table(title=f"val: {rows['reals']} real, {rows['fakes']} fake", box=SIMPLE, padding=0)
    _add_columns(table)
    val = metrics["val"]
    members = val["members"]
    combined = list_combiners(val)
    ends = {list(members)[-1], list(combined)[-1]}
    for name, values in (members | combined).items():
        mark = f"{name} (ships)" if name == val["shipped"] else name
        _add_scorer(table, mark, values, name in ends)
    table.add_row(NULL, format_interval(val["null_model"]), *(NO_VALUE for _ in SHOWN))
    return table


def build_shipped(metrics: ValMetrics) -> Table:
    """What ships: every metric with its interval, and what it gains over simpler choices."""
    val = metrics["val"]
    title = f"what ships ({val['shipped']}), 95 % intervals by {val['stack']['groups']} groups"
    table = Table(title=title, box=SIMPLE, padding=0)
    table.add_column("metric", no_wrap=True)
    for name in ("val", *(f"minus {name}" for name in val["differences"])):
        table.add_column(name, justify="right", overflow="fold")
    for metric, name in TITLES.items():
        gains = [format_gap(values, metric) for values in val["differences"].values()]
        cell = format_interval(val["stack"], metric)
        table.add_row(name.replace("FPR ", "FPR\n"), cell, *gains)
    return table


def build_promises(metrics: ValMetrics) -> Table:
    """What was promised of rows like those of train, and what val shows."""
    title = f"what ships ({metrics['val']['shipped']}): promised, and realised on val"
    table = Table(title=title, box=SIMPLE, padding=0)
    table.add_column("", overflow="fold")
    table.add_column("promised", justify="right", no_wrap=True)
    table.add_column("realised [95 %]", justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for entry in metrics["promises"].values():
        realised = format_interval(entry, "realised")
        table.add_row(entry["title"], _format_promised(entry), realised, entry["verdict"])
    return table


def build_units(metrics: ValMetrics) -> Table | None:
    """Members and what ships on units of val; `None` where nothing was measured on any."""
    units = metrics.get("units")
    if units is None or "stack" not in units:
        return None
    counts = units["counts"]
    caption = [describe_mixed(counts)] if counts["mixed"] else []
    if not units["stack"]["reliable"]:
        caption.append(f"{MARK} {FEW}")
    table = Table(
        title=f"by unit: {counts['reals']} real, {counts['fakes']} fake",
        box=SIMPLE,
        padding=0,
        caption="; ".join(caption) or None,
    )
    _add_columns(table)
    for name, values in units["members"].items():
        _add_scorer(table, name, values)
    table.add_section()
    _add_scorer(table, f"{units['shipped']} (ships)", units["stack"])
    return table


def _add_columns(table: Table) -> None:
    table.add_column("model", overflow="fold")  # nothing is cut: a long name takes two lines
    for title in ("AUC [95 %]", *SHOWN.values()):
        table.add_column(title, justify="right", no_wrap=True)


def _add_scorer(
    table: Table, name: str, values: Mapping[str, Any], end_section: bool = False
) -> None:
    cells = [format_figure(values[key]) for key in SHOWN]
    table.add_row(name, format_interval(values), *cells, end_section=end_section)


def _format_promised(entry: Promise) -> str:
    if entry["promised_low"] is None:
        return describe_promised(entry)
    return format_interval(entry, "promised")


def build_parts(metrics: ValMetrics) -> Table | None:
    """What ships by generator and by domain, with the null model beside; `None` without either."""
    domains, gap = list_domains(metrics["domains"]), metrics["domains"].get("gap")
    generators = metrics["generators"]
    if not generators and len(domains) < 2:
        return None
    title = "what ships, by generator and domain"
    shown: list[Comparison | Generator] = [
        *generators.values(),
        *(domains.values() if len(domains) > 1 else ()),
    ]
    caption = None if all(values["reliable"] for values in shown) else f"{MARK} {FEW}"
    table = Table(title=title, box=SIMPLE, padding=0, caption=caption)
    table.add_column("AUC [95 %]", justify="right", no_wrap=True)
    table.add_column(NULL.replace(" ", "\n"), justify="right", no_wrap=True)
    table.add_column("domain", no_wrap=True)
    table.add_column("rows", overflow="fold")
    for generator in generators.values():
        _add_part(table, generator, generator["domain"])
    table.add_section()
    if len(domains) > 1:
        for name, values in domains.items():
            _add_part(table, values, name)
    if gap:
        table.add_row(format_gap(gap), "", "gap", escape(gap["against"]))
    return table


def build_blocks(metrics: ValMetrics) -> Table:
    """What moves the log-odds of what ships and of the LightGBM models, by block of columns."""
    shipped = metrics["val"]["shipped"]
    names = [n for n in dict.fromkeys((shipped, *GATED)) if n in metrics["blocks"]]
    table = Table(title="what moves log-odds", box=SIMPLE, padding=0)
    table.add_column("columns", overflow="fold")
    for name in names:
        mark = f"{name}\n(ships)" if name == shipped else name
        table.add_column(mark, justify="right", overflow="fold")
    for block in dict.fromkeys(block for name in names for block in metrics["blocks"][name]):
        cells = [_format_block(metrics["blocks"][name], block) for name in names]
        table.add_row(block.removeprefix(BACKBONE), *cells)
    return table


def _format_block(blocks: Mapping[str, Block], block: str) -> str:
    if block not in blocks:
        return NO_VALUE
    value = blocks[block]["contribution"]
    if value is None:  # of a mean of ranks
        return f"weight {blocks[block]['weight']:.2f}"
    total = sum(values["contribution"] or 0.0 for values in blocks.values()) or 1.0
    return f"{value:.2f} {format_percent(value / total):>6}"


def build_without(metrics: ValMetrics, costs: Mapping[str, Cost]) -> Table | None:
    """AUC that each backbone is worth, and what it costs; `None` where there is one alone."""
    if not metrics["without"]:
        return None
    title = f"without a backbone: AUC of what ships ({metrics['val']['shipped']})"
    caption = "minutes of training and seconds for 1,000 images, all folds, where measured"
    table = Table(title=title, box=SIMPLE, padding=0, caption=caption)
    table.add_column("left out", overflow="fold")
    for name in ("out of fold", "val"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("missed", no_wrap=True)
    table.add_column("min", justify="right", no_wrap=True)
    table.add_column("s", justify="right", no_wrap=True)
    for backbone, values in metrics["without"].items():
        cost = costs.get(backbone, UNKNOWN)
        gaps = (format_gap(values, key) for key in ("auc", "val_auc"))
        cells = (_format_cost(value) for value in (cost.minutes, cost.seconds))
        table.add_row(backbone, *gaps, ANSWERS[judge_loss(values)], *cells)
    return table


def _format_cost(value: float | None) -> str:
    return NO_VALUE if value is None else f"{value:.{0 if value >= 10 else 1}f}"


def _add_part(table: Table, values: Comparison | Generator, domain: str) -> None:
    null = format_figure(values["null_auc"])
    mark = "" if values["reliable"] else MARK
    # A generator may be called [b], which is no markup.
    rows = escape(values["against"])
    table.add_row(format_interval(values) + mark, null, domain.replace("_", "-"), rows)
