"""Metrics on val labels that somebody corrected (`data.label_overrides`), beside the original ones.

The original labels are the headline, and promises, threshold and calibration stand on them alone.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.table import Table

from features.core.auc import AucEstimate
from features.core.manifest import NO_OVERRIDE, Manifest, count_classes, find_headline_rows
from features.core.number_text import format_figure
from stage2_ensemble.columns.columns import Floats
from stage2_ensemble.findings.scorers import measure_scorers
from stage2_ensemble.models.ensemble import Ensemble
from stage2_ensemble.results.form import CorrectedCounts, ValMetrics
from stage2_ensemble.results.scores import list_combiners

BIAS = (
    "Rows that a model disputes are looked at first, so corrected labels flatter it: the original "
    "ones are the headline."
)


def measure_corrected(
    ensemble: Ensemble, scores: Mapping[str, Floats], val: Manifest
) -> dict[str, Any] | None:
    """`corrected` of `metrics.json`: `counts`, and what `measure_scorers` finds; on headline rows.

    `scores`: as `Ensemble.read_all` gives them. `None` where no label was changed; `counts` alone
    where the corrected ones are of one class.
    """
    rows = find_headline_rows(val)
    listed, override = val.labels[rows], val.overrides[rows]
    looked_at = override != NO_OVERRIDE
    changed = looked_at & (override != listed)
    if not changed.any():
        return None
    labels = np.where(changed, override, listed).astype(np.int8)
    reals, fakes = count_classes(labels)
    to_real, to_fake = count_classes(labels[changed])
    counts = {
        "reals": reals,
        "fakes": fakes,
        "to_real": to_real,
        "to_fake": to_fake,
        "confirmed": int(np.sum(looked_at & ~changed)),
    }
    if not reals or not fakes:
        return {"counts": counts}
    headline = {name: score[rows] for name, score in scores.items()}
    found = measure_scorers(ensemble, ensemble.rules, headline, labels, val.groups[rows])
    return {"counts": counts, **found}


def list_corrected(metrics: ValMetrics) -> list[str]:
    """What there is to say of corrected labels, in lines; none where no label was changed."""
    if "corrected" not in metrics:
        return []
    corrected, val = metrics["corrected"], metrics["val"]
    lines = [_describe_counts(corrected["counts"])]
    if "stack" not in corrected:
        return [*lines, "on corrected labels nothing is measured: all rows are of one class"]
    name = val["shipped"]
    before, after = (_describe_auc(found["stack"]) for found in (val, corrected))
    lines.append(f"{name} (ships): AUC {after} on corrected labels, {before} on the original ones")
    return [*lines, BIAS]


def build_corrected(metrics: ValMetrics) -> Table | None:
    """AUC and balanced accuracy on both labels; `None` where nothing was measured on corrected."""
    corrected, val = metrics.get("corrected"), metrics["val"]
    if corrected is None or "stack" not in corrected:
        return None
    title = _describe_counts(corrected["counts"])
    table = Table(title=title, box=SIMPLE, padding=0, caption=BIAS)
    table.add_column("model", overflow="fold")
    for figure in ("AUC [95 %]", "bal. acc."):
        for side in ("original", "corrected"):
            table.add_column(f"{figure}\n{side}", justify="right", no_wrap=True)
    members = list(val["members"])
    originals, others = (
        {**found["members"], **list_combiners(found)} for found in (val, corrected)
    )
    for name, values in others.items():
        sides = (originals[name], values)
        table.add_row(
            f"{name} (ships)" if name == val["shipped"] else name,
            *(_describe_auc(values) for values in sides),
            *(format_figure(values["balanced_accuracy"]) for values in sides),
            end_section=name == members[-1],
        )
    return table


def _describe_counts(counts: CorrectedCounts) -> str:
    return (
        f"val labels corrected: {counts['to_real']} to real, {counts['to_fake']} to fake, "
        f"{counts['confirmed']} confirmed"
    )


def _describe_auc(values: Mapping[str, Any]) -> str:
    return AucEstimate.from_metrics(values).describe()
