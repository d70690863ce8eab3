"""Prints the table of val metrics and the place of the final labels. No stage: it writes nothing.

Reads: artifacts/metrics.json, artifacts/labels.csv
"""

from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from features.cli import run_stage
from features.errors import MissingArtifactError
from features.files import read_json

METRICS = Path("artifacts/metrics.json")
LABELS = Path("artifacts/labels.csv")
SHOWN = {
    "auc": "AUC",
    "ap": "AP",
    "balanced_accuracy": "bal.\nacc.",
    "accuracy": "acc.",
    "tpr_at_fpr_1e-2": "TPR at\nFPR 1 %",
    "log_loss": "log\nloss",
}


def build_table(metrics: dict[str, Any]) -> Table:
    """Members first, then the combiners; what ships is marked."""
    rows = metrics["rows"]["val"]
    table = Table(
        title=f"val: {rows['reals']} real, {rows['fakes']} fake", box=SIMPLE, padding=(0, 1, 0, 0)
    )
    table.add_column("model", overflow="fold")  # nothing is cut: a long name takes two lines
    for title in SHOWN.values():
        table.add_column(title, justify="right", no_wrap=True)
    val = metrics["val"]
    members = val["members"]
    combined = {k: v for k, v in val.items() if k not in ("members", "stack", "shipped")}
    for name, values in (members | combined).items():
        mark = f"{name} (ships)" if name == val["shipped"] else name
        cells = ["–" if values[key] is None else f"{values[key]:.4f}" for key in SHOWN]
        table.add_row(mark, *cells, end_section=name == list(members)[-1])
    return table


def main() -> None:
    """Show the metrics on val and where the final labels are."""
    for path, stage in ((METRICS, "evaluate"), (LABELS, "label")):
        if not path.is_file():
            raise MissingArtifactError(path, stage)
    console = Console()
    console.print(build_table(read_json(METRICS, "evaluate")))
    console.print(f"Final labels: {LABELS}", highlight=False)


if __name__ == "__main__":
    run_stage("stage2_ensemble.summary", main)
