"""The table of `robustness` in `metrics.json`, for the summary."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from stage2_ensemble.cells import format_gap, format_interval
from stage2_ensemble.resampling import LEAST_GROUPS
from stage2_ensemble.robustness import SCORERS, name_variant

WORDS = {"auc": "change", "auc_low": "change_low", "auc_high": "change_high"}


def build_robustness(metrics: Mapping[str, Any]) -> Table:
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
        rates = (f"{values[rate]:.2f}" for rate in ("fpr", "tpr"))
        change = format_gap({key: values[word] for key, word in WORDS.items()})
        name = "as it is" if variant["strength"] is None else name_variant(variant)
        aucs = (f"{scorers[other]['auc']:.3f}" for other in others)
        table.add_row(name, format_interval(values), change, *rates, *aucs)
    return table
