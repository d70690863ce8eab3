"""Whether rules hold on val: calibration before and after, class shares, promises.

Nothing is chosen here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from features.core.manifest import Ids
from stage2_ensemble.columns.columns import Floats, Labels
from stage2_ensemble.decisions.conformal import FAKE, REAL, REVIEW
from stage2_ensemble.decisions.prior_shift import estimate_prior
from stage2_ensemble.decisions.rules import DecisionRules, answer_calibrated
from stage2_ensemble.decisions.scored_rows import RowScores, ValRows
from stage2_ensemble.findings.promises import check_promises
from stage2_ensemble.findings.scorers import measure_with_intervals
from stage2_ensemble.fitted.ensemble import SecondStage
from stage2_ensemble.measures.reliability import tabulate_reliability
from stage2_ensemble.measures.shares import estimate_share


@dataclass(frozen=True)
class ShippedRows:
    """Val rows `(n,)` with log-odds of what ships."""

    row_ids: Ids
    labels: Labels
    groups: Ids
    uncalibrated: Floats
    """As they come."""
    calibrated: Floats
    """At the class shares of train."""
    read: Floats
    """Calibrated, at the class shares that labels assume."""


def read_shipped(
    ensemble: SecondStage, row_ids: Ids, labels: Labels, groups: Ids, uncalibrated: Floats
) -> ShippedRows:
    """The rows with what rules make of their log-odds."""
    rules, name = ensemble.rules, ensemble.shipped
    calibrated = rules.scorers[name].calibration.apply(uncalibrated)
    return ShippedRows(
        row_ids, labels, groups, uncalibrated, calibrated, rules.read(name, uncalibrated)
    )


def check_rules(
    ensemble: SecondStage, rows: ShippedRows, figures: Mapping[str, Any]
) -> dict[str, Any]:
    """`calibration`, `threshold`, `prior`, `promises` and `answers` of `metrics.json`.

    `figures`: the metrics of the same rows as they are read.
    """
    rules = ensemble.rules
    rule = rules.scorers[ensemble.shipped]
    without_labels = RowScores(row_ids=rows.row_ids, log_odds=rows.calibrated, groups=rows.groups)
    val = ValRows(**vars(without_labels), labels=rows.labels)
    before = measure_with_intervals(
        rows.labels, rows.uncalibrated, rows.groups, rule.threshold.value
    )
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
        "answers": measure_answers(rules, ensemble.shipped, val),
    }


def measure_answers(rules: DecisionRules, shipped: str, val: ValRows) -> dict[str, Any]:
    """`answers` of `metrics.json`: what labels say of `val`, whose log-odds are calibrated."""
    given = answer_calibrated(rules, shipped, val.log_odds)["label"].to_numpy()
    names = (REAL, FAKE, *((REVIEW,) if rules.band else ()))
    found: dict[str, Any] = {}
    for label, kind in enumerate((REAL, FAKE)):
        rows = val.labels == label
        found[f"{kind}s"] = {
            name: estimate_share(given[rows] == name, val.groups[rows]).to_json() for name in names
        }
    if rules.band:
        edges = np.array(sorted((rules.band.fake_from, rules.band.real_until)))
        found["review"] = dict(zip(("low", "high"), rules.prior.apply(edges).tolist(), strict=True))
    return found


def _take_ece(figures: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: figures[name] for name in ("ece", "ece_low", "ece_high")}


def tabulate_shipped(rows: ShippedRows) -> dict[str, pd.DataFrame]:
    """Reliability of log-odds as they come and as they are read, by the name of its file."""
    pairs = {"reliability_before": rows.uncalibrated, "reliability_after": rows.read}
    return {
        name: pd.DataFrame(tabulate_reliability(rows.labels, log_odds).to_rows())
        for name, log_odds in pairs.items()
    }
