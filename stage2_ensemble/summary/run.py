"""What `python -m stage2_ensemble.summary` does."""

from pathlib import Path

from rich.console import Console

from features.core.files import read_json
from features.core.sums import check_sums
from features.errors import MissingArtifactError
from features.runtime.costs import read_costs
from features.runtime.terminal import build_console, get_form, write_document
from stage2_ensemble.display.closing import print_closing
from stage2_ensemble.display.tables import (
    build_blocks,
    build_parts,
    build_promises,
    build_robustness,
    build_shipped,
    build_table,
    build_units,
    build_without,
)
from stage2_ensemble.findings.corrected_labels import build_corrected, list_corrected
from stage2_ensemble.findings.final_run import build_last, list_last
from stage2_ensemble.findings.rule_checks import list_rules
from stage2_ensemble.findings.scorers import list_notes
from stage2_ensemble.models.bundle import ENSEMBLE, check_bundle
from stage2_ensemble.results.form import ValMetrics, has_val
from stage2_ensemble.results.metrics_file import read_metrics

METRICS = Path("artifacts/metrics.json")
SUMS = Path("artifacts/evaluate.sums.json")
STACKERS = Path("artifacts/stackers")
LABELS = Path("artifacts/labels.csv")
REPORT = Path("artifacts/report.html")


def run() -> None:
    """Prints what `evaluate` and `label` have written, in the form that is asked for."""
    for path, stage in ((METRICS, "evaluate"), (LABELS, "label")):
        if not path.is_file():
            raise MissingArtifactError(path, stage)
    check_sums(SUMS, "evaluate", METRICS.name)
    metrics = read_metrics(METRICS)
    if get_form() == "json":
        write_document(metrics)
        return
    if get_form() == "quiet":
        print_closing(metrics, REPORT if REPORT.is_file() else None, LABELS, Console())
        return
    console = build_console()
    if not has_val(metrics):
        console.print(build_last(metrics))
        for line in list_last(metrics):
            console.print(line, highlight=False)
    else:
        _print_val(console, metrics)
    if REPORT.is_file():
        console.print(f"The whole, with pictures: {REPORT}", highlight=False)
    console.print(f"Final labels: {LABELS}", highlight=False)


def _print_val(console: Console, metrics: ValMetrics) -> None:
    console.print(build_table(metrics))
    console.print(build_shipped(metrics))
    for note in list_notes(metrics["val"]["stack"], metrics["rows"]["val"]["reals"]):
        console.print(note, highlight=False)
    if parts := build_parts(metrics):
        console.print(parts)
    if units := build_units(metrics):
        console.print(units)
    elif "units" in metrics:
        console.print(f"by unit nothing is measured: {metrics['units']['counts']}", highlight=False)
    if corrected := build_corrected(metrics):
        console.print(corrected)
    lines = [] if corrected else list_corrected(metrics)
    for line in (*lines, *list_rules(metrics)):
        console.print(line, highlight=False)
    console.print(build_promises(metrics))
    console.print(build_robustness(metrics))
    console.print(build_blocks(metrics))
    check_bundle(STACKERS)
    facts = read_json(STACKERS / ENSEMBLE, "stack")
    members = {int(fold): digests for fold, digests in facts["members"].items()}
    if table := build_without(metrics, read_costs(facts["backbones"], members)):
        console.print(table)
