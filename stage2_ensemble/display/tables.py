"""Tables of `metrics.json`, built once for the terminal, the page and the model card."""

from collections.abc import Mapping, Sequence
from typing import Any

from features.core.number_text import NO_VALUE, format_figure, format_percent
from stage2_ensemble.display.called_fake import build_called_fake
from stage2_ensemble.display.layout import Column, Row, TextTable
from stage2_ensemble.display.member_tables import (
    build_outside,
    build_tiers,
    build_without,
    format_gap,
)
from stage2_ensemble.explanations.contributions import BACKBONE
from stage2_ensemble.findings.robustness import SCORERS, name_variant
from stage2_ensemble.models.candidates import GATED
from stage2_ensemble.results.form import (
    BlockFigures,
    FinalMetrics,
    Metrics,
    Promise,
    ValMetrics,
    has_val,
    list_all_folds,
    title_backbone,
    title_member,
)
from stage2_ensemble.results.robustness import Robustness
from stage2_ensemble.results.scores import Comparison, Generator, list_combiners, list_domains
from stage2_ensemble.sentences.intervals import (
    FEW_GROUPS,
    NOT_RELIABLE,
    format_interval,
)
from stage2_ensemble.sentences.rules import describe_promised
from stage2_ensemble.sentences.scorers import (
    BIAS,
    METRIC_TITLES,
    describe_corrections,
    describe_mixed,
    describe_poolings,
    explain_shipped,
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
ALL_FOLDS = "all folds: the mean of a backbone's members, in log-odds"
FEW = f"{FEW_GROUPS}: {NOT_RELIABLE}"
SCORER_COLUMNS = (
    Column("model", folds=True),  # nothing is cut: a long name takes two lines
    *(Column(name, "right") for name in ("AUC [95 %]", *SHOWN.values())),
)


def list_tables(metrics: Metrics) -> list[TextTable]:
    """Every table that these metrics have, without costs: seconds differ from run to run."""
    if not has_val(metrics):
        return [build_last(metrics)]
    tables = (
        build_scorers(metrics),
        build_outside(metrics),
        build_corrected(metrics),
        build_shipped(metrics),
        build_promises(metrics),
        build_called_fake(metrics),
        build_comparisons(metrics),
        build_units(metrics),
        build_robustness(metrics),
        build_tiers(metrics),
        build_blocks(metrics),
        build_without(metrics),
    )
    return [table for table in tables if table is not None]


def build_scorers(metrics: ValMetrics) -> TextTable:
    """Members first, then backbones of several folds, the combiners and the null model; what ships
    is marked.
    """
    val, rows = metrics["val"], metrics["rows"]["val"]
    members, combiners, whole = val["members"], list_combiners(val), list_all_folds(metrics)
    scored = [
        _build_scorer(title_member(name, metrics), values, ends_section=name == list(members)[-1])
        for name, values in members.items()
    ]
    scored += [_build_auc(name, auc, name == list(whole)[-1]) for name, auc in whole.items()]
    scored += [
        _build_scorer(name, values, name == val["shipped"], name == list(combiners)[-1])
        for name, values in combiners.items()
    ]
    title = f"val: {rows['reals']} real, {rows['fakes']} fake"
    note = ALL_FOLDS if whole else ""
    return TextTable(title, SCORER_COLUMNS, (*scored, _build_auc(NULL, val["null_model"])), note)


def _build_auc(name: str, values: Mapping[str, Any], ends_section: bool = False) -> Row:
    """A row of `SCORER_COLUMNS` of what has an AUC alone."""
    cells = (name, format_interval(values), *(NO_VALUE for _ in SHOWN))
    return Row(cells, ends_section=ends_section)


def _build_scorer(
    name: str, values: Mapping[str, Any], ships: bool = False, ends_section: bool = False
) -> Row:
    figures = (format_figure(values[key]) for key in SHOWN)
    return Row((_mark(name, ships), format_interval(values), *figures), ships, ends_section)


def _mark(name: str, ships: bool) -> str:
    return f"{name} (ships)" if ships else name


def build_corrected(metrics: ValMetrics) -> TextTable | None:
    """AUC and balanced accuracy on both labels; `None` where nothing was measured on corrected."""
    corrected, val = metrics.get("corrected"), metrics["val"]
    if corrected is None or "stack" not in corrected:
        return None
    figures = ("AUC [95 %]", "bal. acc.")
    names = [f"{figure}\n{side}" for figure in figures for side in ("original", "corrected")]
    columns = (Column("model", folds=True), *(Column(name, "right") for name in names))
    last = list(val["members"])[-1]
    originals, others = (
        {**found["members"], **list_combiners(found)} for found in (val, corrected)
    )
    rows = []
    for name, values in others.items():
        ships, sides = name == val["shipped"], (originals[name], values)
        aucs = (format_interval(side) for side in sides)
        accuracies = (format_figure(side["balanced_accuracy"]) for side in sides)
        title = _mark(title_member(name, metrics), ships)
        rows.append(Row((title, *aucs, *accuracies), ships, name == last))
    return TextTable(describe_corrections(corrected["counts"]), columns, tuple(rows), BIAS)


def build_shipped(metrics: ValMetrics) -> TextTable:
    """What ships: every metric with its interval, and what it gains over simpler choices."""
    val = metrics["val"]
    names = ("val", *(f"minus {name}" for name in val["differences"]))
    columns = (Column("metric"), *(Column(name, "right", folds=True) for name in names))
    rows = []
    for metric, name in METRIC_TITLES.items():
        gains = (format_gap(values, metric) for values in val["differences"].values())
        cells = (name.replace("FPR ", "FPR\n"), format_interval(val["stack"], metric), *gains)
        rows.append(Row(cells))
    title = f"what ships ({val['shipped']}), 95 % intervals by {val['stack']['groups']} groups"
    return TextTable(title, columns, tuple(rows), explain_shipped(val["shipped"]))


def build_promises(metrics: ValMetrics) -> TextTable:
    """What was promised of rows like those of train, and what val shows."""
    columns = (
        Column("", folds=True),
        Column("promised", "right"),
        Column("realised [95 %]", "right"),
        Column("", folds=True),
    )
    rows = (
        Row((p["title"], _format_promised(p), format_interval(p, "realised"), p["verdict"]))
        for p in metrics["promises"].values()
    )
    title = f"what ships ({metrics['val']['shipped']}): promised, and realised on val"
    return TextTable(title, columns, tuple(rows))


def _format_promised(entry: Promise) -> str:
    if entry["promised_low"] is None:
        return describe_promised(entry)
    return format_interval(entry, "promised")


def build_comparisons(metrics: ValMetrics) -> TextTable | None:
    """What ships by generator and by domain, with the null model beside; `None` without either."""
    generators, domains = metrics["generators"], list_domains(metrics["domains"])
    if len(domains) < 2:
        domains = {}
    if not generators and not domains:
        return None
    columns = (
        Column("AUC [95 %]", "right"),
        Column(NULL.replace(" ", "\n"), "right"),
        Column("domain"),
        Column("rows", folds=True),
    )
    last = list(generators)[-1] if generators else ""
    rows = [_build_comparison(v, v["domain"], name == last) for name, v in generators.items()]
    rows += [_build_comparison(values, name) for name, values in domains.items()]
    if gap := metrics["domains"].get("gap"):
        rows.append(Row((format_gap(gap), "", "gap", gap["against"])))
    compared: list[Comparison | Generator] = [*generators.values(), *domains.values()]
    note = "" if all(values["reliable"] for values in compared) else f"{MARK} {FEW}"
    return TextTable("what ships, by generator and domain", columns, tuple(rows), note)


def _build_comparison(
    values: Comparison | Generator, domain: str, ends_section: bool = False
) -> Row:
    auc = format_interval(values) + ("" if values["reliable"] else MARK)
    null = format_figure(values["null_auc"])
    cells = (auc, null, domain.replace("_", "-"), values["against"])
    return Row(cells, ends_section=ends_section)


def build_units(metrics: ValMetrics) -> TextTable | None:
    """Members and what ships on units of val; `None` where nothing was measured on any."""
    units = metrics.get("units")
    if units is None or "stack" not in units:
        return None
    counts, members = units["counts"], units["members"]
    notes = [describe_mixed(counts)] if counts["mixed"] else []
    notes.append(describe_poolings(units["poolings"]))
    if not units["stack"]["reliable"]:
        notes.append(f"{MARK} {FEW}")
    last = list(members)[-1]
    rows = [
        _build_scorer(title_member(name, metrics), values, ends_section=name == last)
        for name, values in members.items()
    ]
    rows.append(_build_scorer(units["shipped"], units["stack"], ships=True))
    title = f"by unit: {counts['reals']} real, {counts['fakes']} fake"
    return TextTable(title, SCORER_COLUMNS, tuple(rows), "; ".join(notes))


def build_robustness(metrics: ValMetrics) -> TextTable:
    """What ships in each tier, and the mean of these; then under each perturbation.

    With its change and rates; the AUCs of the others stand beside.
    """
    found, shipped = metrics["robustness"], metrics["val"]["shipped"]
    others = [name for name in SCORERS if name != "stack"]
    names = ("AUC [95 %]", "change", "FPR", "TPR", *(n.replace("_", "\n") for n in others))
    columns = (Column("picture", folds=True), *(Column(name, "right") for name in names))
    rows = []
    for variant in found["variants"]:
        scorers = variant["scorers"]
        values = scorers["stack"]
        name = name_variant(variant)
        figures = (values["fpr"], values["tpr"], *(scorers[other]["auc"] for other in others))
        change = format_gap(values, "change")
        rows.append(Row((name, format_interval(values), change, *map(format_figure, figures))))
        if found["tiers"] and name == found["tiers"][-1]:
            rows.append(_build_robust(found, others))
    counts = f"{found['reals']} real and {found['fakes']} fake val rows"
    note = f"AUC, change and rates at its threshold: what ships ({shipped})"
    if found["rows"] and not found["reliable"]:
        note += f"; {FEW}"
    return TextTable(f"perturbed pictures: {found['note'] or counts}", columns, tuple(rows), note)


def _build_robust(found: Robustness, others: Sequence[str]) -> Row:
    """The means over tiers."""
    beside = (format_figure(found["robust"][name]["auc"]) for name in others)
    auc = format_interval(found["robust"]["stack"])
    return Row(("robust (mean)", auc, "", "", "", *beside), True, ends_section=True)


def build_blocks(metrics: ValMetrics) -> TextTable:
    """What moves the log-odds of what ships and of the LightGBM models, by block of columns."""
    shipped = metrics["val"]["shipped"]
    names = [n for n in dict.fromkeys((shipped, *GATED)) if n in metrics["blocks"]]
    columns = [Column("columns", folds=True)]
    for name in names:
        mark = f"{name}\n(ships)" if name == shipped else name
        columns.append(Column(mark, "right", folds=True))
    rows = []
    for block in dict.fromkeys(block for name in names for block in metrics["blocks"][name]):
        cells = (_format_block(metrics["blocks"][name], block) for name in names)
        rows.append(Row((title_backbone(block.removeprefix(BACKBONE), metrics), *cells)))
    return TextTable("what moves log-odds", tuple(columns), tuple(rows))


def _format_block(blocks: Mapping[str, BlockFigures], block: str) -> str:
    if block not in blocks:
        return NO_VALUE
    value = blocks[block]["contribution"]
    if value is None:  # of a mean of ranks
        return f"weight {blocks[block]['weight']:.2f}"
    total = sum(values["contribution"] or 0.0 for values in blocks.values()) or 1.0
    return f"{value:.2f} {format_percent(value / total):>6}"


def build_last(metrics: FinalMetrics) -> TextTable:
    """Out-of-fold AUCs of a run without val."""
    columns = (Column("model", folds=True), Column("out-of-fold AUC", "right"))
    rows = []
    for name, auc in metrics["out_of_fold"]["auc"].items():
        ships = name == metrics["shipped"]
        rows.append(Row((_mark(name, ships), format_figure(auc)), ships))
    return TextTable(metrics["note"], columns, tuple(rows))
