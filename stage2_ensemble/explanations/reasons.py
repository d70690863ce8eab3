"""Why scores come out as they do: what carries each candidate, and what each backbone is worth.

On val, with models that were fitted without it. Contributions know no label.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from features.core.auc import compare_aucs
from features.core.manifest import Ids
from stage2_ensemble.columns.columns import Floats, Labels, MemberColumns
from stage2_ensemble.explanations.contributions import (
    BACKBONE,
    add_blocks,
    explain_model,
    find_weights,
    measure_gains,
    sample_explained,
)
from stage2_ensemble.fitted.ensemble import SecondStage, average_scores
from stage2_ensemble.models.candidates import CANDIDATES, GATED, Model, Pooled


@dataclass(frozen=True)
class Reason:
    """What carries one candidate."""

    blocks: dict[str, dict[str, float | None]]
    """By block: `contribution`, `gain`, `weight`, as far as the candidate has them."""
    columns: dict[str, float]
    """Contribution by column; empty where there is none."""
    gains: dict[str, float]


def find_reasons(
    ensemble: SecondStage, columns: Sequence[MemberColumns], rows: Ids
) -> dict[str, Reason]:
    """Of every candidate, by some of the `rows` (positions) of `columns` (one per fold)."""
    chosen = rows[sample_explained(len(rows))]
    some = [c.take(chosen) for c in columns]
    return {name: _find_reason(model, some) for name, model in ensemble.models.items()}


def _find_reason(model: Model, columns: Sequence[MemberColumns]) -> Reason:
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
    ensemble: SecondStage,
    columns: Sequence[MemberColumns],
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
