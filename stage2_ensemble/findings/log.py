"""What `evaluate` says of its metrics, line by line."""

import logging
from collections.abc import Mapping
from typing import Any

from features.core.auc import AucEstimate
from features.core.number_text import format_difference, format_figure
from stage2_ensemble.findings.corrected_labels import list_corrected
from stage2_ensemble.findings.domains import ADJECTIVES
from stage2_ensemble.findings.final_run import list_last
from stage2_ensemble.findings.promises import describe_promise
from stage2_ensemble.findings.robustness import list_robustness
from stage2_ensemble.findings.rule_checks import list_rules
from stage2_ensemble.findings.scorers import (
    NOT_RELIABLE,
    PAIRED,
    TITLES,
    describe_mixed,
    list_notes,
)
from stage2_ensemble.results.form import CountedUnits, FinalMetrics, Units, ValMetrics
from stage2_ensemble.results.scores import (
    Comparison,
    Generator,
    HeadlineScorers,
    list_combiners,
    list_domains,
)

_log = logging.getLogger("forgerystack")


def log_last(metrics: FinalMetrics) -> None:
    """Of a run without val."""
    for name, auc in metrics["out_of_fold"]["auc"].items():
        ships = "  <- ships" if name == metrics["shipped"] else ""
        _log.info("evaluate: out-of-fold AUC %s %s%s", format_figure(auc), name, ships)
    for line in list_last(metrics):
        _log.info("evaluate: %s", line)


def log_metrics(metrics: ValMetrics) -> None:
    """Of a run with val: everything but the reasons."""
    val = metrics["val"]
    for name, values in {**val["members"], **list_combiners(val)}.items():
        ships = "  <- ships" if name == val["shipped"] else ""
        _log.info("evaluate: val AUC %s %s%s", _describe(values), name, ships)
    _log.info("evaluate: val AUC %s null model, without any picture", _describe(val["null_model"]))
    _log_domains(metrics)
    if "units" in metrics:
        _log_units(metrics["units"])
    for name, difference in val["differences"].items():
        parts = [_describe_difference(difference, key) for key in ("auc", *PAIRED)]
        _log.info("evaluate: what ships minus %s: %s", name, ", ".join(filter(None, parts)))
    for note in list_notes(val["stack"], metrics["rows"]["val"]["reals"]):
        _log.info("evaluate: what ships: %s", note)
    for line in (*list_corrected(metrics), *list_rules(metrics)):
        _log.info("evaluate: %s", line)
    for promise in metrics["promises"].values():
        _log.info("evaluate: %s", describe_promise(promise))
    for line in list_robustness(metrics["robustness"], val["shipped"]):
        _log.info("evaluate: %s", line)


def log_warning(val: HeadlineScorers) -> None:
    """Where what ships is below the plain mean."""
    if val["stack"]["auc"] < val["mean"]["auc"]:
        _log.info(
            "evaluate: on val, %s (ships) is below the plain mean of the members", val["shipped"]
        )


def _log_domains(metrics: ValMetrics) -> None:
    """What ships by generator and, where val has unseen rows, by domain."""
    domains, gap = list_domains(metrics["domains"]), metrics["domains"].get("gap")
    parts: list[tuple[str, Comparison | Generator]] = [
        (f"; {ADJECTIVES[v['domain']]}", v) for v in metrics["generators"].values()
    ]
    if len(domains) > 1:
        parts += [("", values) for values in domains.values()]
    for domain, values in parts:
        null = format_figure(values["null_auc"])
        _log.info(
            "evaluate: val AUC %s on %s (null model %s%s)",
            _describe(values), values["against"], null, domain,
        )  # fmt: skip
    if gap:
        text = AucEstimate.from_metrics(gap).describe_difference()
        _log.info("evaluate: gap %s: %s", text, gap["against"])


def _log_units(units: Units | CountedUnits) -> None:
    counts = units["counts"]
    rows = f"{counts['reals']} real and {counts['fakes']} fake units"
    if mixed := describe_mixed(counts):
        rows += f", {mixed}"
    if "stack" not in units:
        _log.info("evaluate: by unit nothing is measured: %s", rows)
        return
    _log.info("evaluate: by unit, on %s: %s (ships)", rows, units["shipped"])
    for name, values in units["members"].items():
        _log.info("evaluate: val AUC by unit %s %s", _describe(values), name)
    _log.info("evaluate: val AUC by unit %s what ships", _describe(units["stack"]))


def _describe(values: Mapping[str, Any]) -> str:
    text = AucEstimate.from_metrics(values).describe()
    return text if values.get("reliable", True) else f"{text} ({NOT_RELIABLE})"


def _describe_difference(values: Mapping[str, Any], name: str) -> str:
    """`AUC +0.0100 [+0.0050, +0.0150]`; nothing for what could not be measured."""
    if values[name] is None:
        return ""
    ends = (values[f"{name}{end}"] for end in ("", "_low", "_high"))
    return f"{TITLES[name]} {format_difference(*ends)}"
