"""Why scores come out as they do: what carries each candidate, and what each backbone is worth.

On val, with models that were fitted without it. Contributions know no label.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from features.core.auc import AucEstimate, compare_aucs
from features.core.manifest import Ids
from features.core.number_text import format_percent
from features.runtime.costs import Cost
from stage2_ensemble.columns.columns import Columns, Floats, Labels
from stage2_ensemble.findings.contributions import (
    BACKBONE,
    add_blocks,
    choose_rows,
    explain_model,
    find_weights,
    measure_gains,
)
from stage2_ensemble.models.candidates import CANDIDATES, GATED, Model, Pooled
from stage2_ensemble.models.ensemble import Ensemble, average_scores
from stage2_ensemble.results.form import Block, LeftOutOnVal, ValMetrics
from stage2_ensemble.results.scores import Auc

Figures = dict[str, float | None]
MISSED = "it is missed"
BETTER = "better without it"
NOT_TOLD = "nothing lost that can be told"
TOO_FEW = "too few groups to tell"
MARGINAL = 0.01
"""Shares of a block below this are not told in the log."""


@dataclass(frozen=True)
class Reason:
    """What carries one candidate."""

    blocks: dict[str, Figures]
    """By block: `contribution`, `gain`, `weight`, as far as the candidate has them."""
    columns: dict[str, float]
    """Contribution by column; empty where there is none."""
    gains: dict[str, float]


def find_reasons(ensemble: Ensemble, columns: Sequence[Columns], rows: Ids) -> dict[str, Reason]:
    """Of every candidate, by some of the `rows` (positions) of `columns` (one per fold)."""
    chosen = rows[choose_rows(len(rows))]
    some = [c.take(chosen) for c in columns]
    return {name: _find_reason(model, some) for name, model in ensemble.models.items()}


def _find_reason(model: Model, columns: Sequence[Columns]) -> Reason:
    found = explain_model(model, columns)
    gains = measure_gains(model)
    contribution = found.measure_blocks() if found else {}
    gain = add_blocks(gains)
    weight: dict[str, float] = {}
    if isinstance(model, Pooled):
        backbones = columns[0].backbones
        weights = find_weights(model.combiner, len(backbones)).tolist()
        weight = {BACKBONE + b: value for b, value in zip(backbones, weights, strict=True)}
    blocks = {
        block: {
            "contribution": contribution.get(block),
            "gain": gain.get(block),
            "weight": weight.get(block),
        }
        for block in contribution or weight
    }
    return Reason(blocks, found.measure_columns() if found else {}, gains)


def measure_without(
    ensemble: Ensemble,
    columns: Sequence[Columns],
    shipped: Floats,
    rows: Ids,
    labels: Labels,
    groups: Ids,
) -> dict[str, dict[str, Any]]:
    """By backbone: differences of AUC without it, out of fold and on `rows` of `columns`.

    `shipped` are the log-odds of what ships as they come; like `labels` and `groups` of all rows.
    """
    found = {}
    for backbone, less in ensemble.without.items():
        scores = average_scores(less.model, [c.without(backbone) for c in columns])
        pair = (scores[rows], shipped[rows])
        on_val = compare_aucs(labels[rows], groups[rows], *pair).to_metrics()
        simple = less.simple.to_metrics()
        found[backbone] = {
            "name": less.name,
            **less.shipped.to_metrics(),
            **{f"simple_{key}": value for key, value in simple.items()},
            **{f"val_{key}": value for key, value in on_val.items()},
        }
    return found


def tabulate_reasons(
    reasons: Mapping[str, Reason], shipped: str, without: Mapping[str, Mapping[str, Any]]
) -> dict[str, pd.DataFrame]:
    """Blocks, columns, gains and backbones left out, by the name of their file.

    One column a candidate, in the same order whatever the settings rule out.
    """
    blocks = {
        name: {block: values["contribution"] for block, values in reason.blocks.items()}
        for name, reason in reasons.items()
    }
    columns = {name: reason.columns for name, reason in reasons.items()}
    gains = {name: reason.gains for name, reason in reasons.items()}
    ends = ("auc", "auc_low", "auc_high")
    names = ["backbone", "name", *(f"{p}{end}" for p in ("", "simple_", "val_") for end in ends)]
    rows = [{"backbone": backbone, **values} for backbone, values in without.items()]
    return {
        "shap_blocks": _tabulate("block", blocks | {"stack": blocks[shipped]}, CANDIDATES, "stack"),
        "shap_columns": _tabulate("column", columns, CANDIDATES),
        "gain": _tabulate("column", gains, GATED),
        "without": pd.DataFrame(rows, columns=names),
    }


def _tabulate(
    title: str, values: Mapping[str, Mapping[str, Any]], names: Sequence[str], *more: str
) -> pd.DataFrame:
    keys = dict.fromkeys(key for by_key in values.values() for key in by_key)
    columns = {name: [values.get(name, {}).get(key) for key in keys] for name in (*names, *more)}
    return pd.DataFrame({title: list(keys), **columns})


def list_reasons(metrics: ValMetrics, costs: Mapping[str, Cost]) -> list[str]:
    """What carries what ships and the gated candidates, and each backbone left out: a line each."""
    shipped = metrics["val"]["shipped"]
    names = dict.fromkeys((shipped, *GATED))
    lines = [
        f"{name}{' (ships)' if name == shipped else ''}: {describe_blocks(metrics['blocks'][name])}"
        for name in names
        if name in metrics["blocks"]
    ]
    for backbone, values in metrics["without"].items():
        lines.append(describe_without(backbone, values, costs[backbone], shipped))
    return lines


def describe_blocks(blocks: Mapping[str, Block]) -> str:
    """`log-odds moved by backbone:a 1.20 (60 %), …`, the largest first."""
    found = {block: values["contribution"] for block, values in blocks.items()}
    known = {block: value for block, value in found.items() if value is not None}
    if not known:
        return "a mean of ranks, no sum of contributions; each backbone counts the same"
    total = sum(known.values()) or 1.0
    told = sorted(known.items(), key=lambda item: -item[1])
    parts = [f"{k} {v:.2f} ({format_percent(v / total)})" for k, v in told if v / total >= MARGINAL]
    return "log-odds moved by " + (", ".join(parts) or "nothing")


def describe_without(backbone: str, values: LeftOutOnVal, cost: Cost, shipped: str) -> str:
    """`without a: AUC -0.0020 [-0.0060, +0.0010] out of fold, …: nothing lost that can be told`."""
    parts = [f"AUC {_describe(values)} out of fold"]
    if shipped in GATED:
        parts.append(f"{_describe(values, 'simple_')} of the best simple combiner")
    parts.append(f"{_describe(values, 'val_')} on val")
    text = f"without {backbone}: {', '.join(parts)}: {judge_loss(values)}"
    costs = []
    if cost.minutes is not None:
        costs.append(f"training it took {cost.minutes:.1f} min")
    if cost.seconds is not None:
        costs.append(f"1,000 images take it {cost.seconds:.1f} s")
    return "; ".join([text, ", ".join(costs) or "what it costs is not known"])


def judge_loss(values: Auc) -> str:
    """What the interval out of fold allows to say."""
    if values["auc_low"] is None or values["auc_high"] is None:
        return TOO_FEW
    if values["auc_high"] < 0:
        return MISSED
    return BETTER if values["auc_low"] > 0 else NOT_TOLD


def _describe(values: Mapping[str, Any], start: str = "") -> str:
    keys = ("auc", "auc_low", "auc_high")
    return AucEstimate(*(values[start + key] for key in keys)).describe_difference()
