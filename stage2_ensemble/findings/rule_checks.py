"""Whether rules hold on val: calibration before and after, class shares, promises.

Nothing is chosen here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from features.core.manifest import Ids
from features.core.number_text import format_figure
from stage2_ensemble.columns.columns import Floats, Labels
from stage2_ensemble.decisions.prior_shift import estimate_prior
from stage2_ensemble.decisions.scored_rows import RowScores, ValRows
from stage2_ensemble.findings.promises import check_promises
from stage2_ensemble.findings.scorers import measure_figures
from stage2_ensemble.measures.reliability import tabulate_reliability
from stage2_ensemble.models.ensemble import Ensemble
from stage2_ensemble.results.form import ValMetrics


@dataclass(frozen=True)
class ShippedRows:
    """Val rows `(n,)` with log-odds of what ships."""

    row_ids: Ids
    labels: Labels
    groups: Ids
    raw: Floats
    """As they come."""
    calibrated: Floats
    """At the class shares of train."""
    read: Floats
    """Calibrated, at the class shares that labels assume."""


def read_shipped(
    ensemble: Ensemble, row_ids: Ids, labels: Labels, groups: Ids, raw: Floats
) -> ShippedRows:
    """The rows with what rules make of their log-odds."""
    rules, name = ensemble.rules, ensemble.shipped
    calibrated = rules.scorers[name].calibration.apply(raw)
    return ShippedRows(row_ids, labels, groups, raw, calibrated, rules.read(name, raw))


def check_rules(
    ensemble: Ensemble, rows: ShippedRows, figures: Mapping[str, Any]
) -> dict[str, Any]:
    """`calibration`, `threshold`, `prior` and `promises` of `metrics.json`.

    `figures`: the metrics of the same rows as they are read.
    """
    rules = ensemble.rules
    rule = rules.scorers[ensemble.shipped]
    without_labels = RowScores(row_ids=rows.row_ids, log_odds=rows.calibrated, groups=rows.groups)
    val = ValRows(**vars(without_labels), labels=rows.labels)
    before = measure_figures(rows.labels, rows.raw, rows.groups, rule.threshold.value)
    estimate = estimate_prior(without_labels, rules.held_out, rules.prior.train)
    return {
        "calibration": {
            **rule.calibration.to_json(),
            "chosen_on": ensemble.rule_rows,
            "val_before": _take_ece(before.metrics),
            "val_after": _take_ece(figures),
        },
        "threshold": {
            **rule.threshold.to_json(),
            "read": rules.find_threshold(ensemble.shipped),
        },
        "prior": {
            "val": float(rows.labels.mean()),
            "assumed": rules.prior.to_json(),
            "estimated_on_val": estimate.to_json(),
        },
        "promises": check_promises(val, rule.threshold, rules.prior, rules.band),
    }


def _take_ece(figures: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: figures[name] for name in ("ece", "ece_low", "ece_high")}


def tabulate_shipped(rows: ShippedRows) -> dict[str, pd.DataFrame]:
    """Reliability of log-odds as they come and as they are read, by the name of its file."""
    pairs = {"reliability_before": rows.raw, "reliability_after": rows.read}
    return {
        name: pd.DataFrame(tabulate_reliability(rows.labels, log_odds).to_rows())
        for name, log_odds in pairs.items()
    }


def list_rules(metrics: ValMetrics) -> list[str]:
    """What `check_rules` found, a line each, but for the promises."""
    calibration, threshold = metrics["calibration"], metrics["threshold"]
    prior = metrics["prior"]
    before, after = (
        format_figure(found["ece"], found["ece_low"], found["ece_high"])
        for found in (calibration["val_before"], calibration["val_after"])
    )
    assumed, estimate = prior["assumed"], prior["estimated_on_val"]
    if estimate["source"] == "estimate":
        found = format_figure(estimate["em"], estimate["em_low"], estimate["em_high"])
        estimated = f"estimated from their scores alone {found}"
    else:
        estimated = f"no estimate from their scores alone: {estimate['reason']}"
    place = format_figure(threshold["value"], threshold["low"], threshold["high"])
    note = f"; {threshold['note']}" if threshold["note"] else ""
    return [
        f"calibration: {calibration['name']}, chosen on {calibration['chosen_on']} rows "
        f"({calibration['reason']}); ECE {before} before, {after} after",
        f"share of fakes: {format_figure(prior['val'])} in val, "
        f"probabilities assume {format_figure(assumed['value'])} "
        f"({assumed['reason']}); {estimated}",
        f"threshold: log-odds {place} by {threshold['policy']}{note}",
    ]
