"""What `python -m stage2_ensemble.summary` does.

run()                                            # prints; reads artifacts/metrics.json
"""

from pathlib import Path

from rich.console import Console
from rich.text import Text

from features.core.files import read_json
from features.core.sums import check_sums
from features.errors import MissingArtifactError
from features.runtime.costs import read_costs
from features.runtime.terminal import build_console, get_form, write_document
from stage2_ensemble.display.called_fake import build_called_fake
from stage2_ensemble.display.closing import print_closing
from stage2_ensemble.display.layout import render_table
from stage2_ensemble.display.member_tables import build_outside, build_tiers, build_without
from stage2_ensemble.display.tables import (
    build_blocks,
    build_comparisons,
    build_corrected,
    build_last,
    build_promises,
    build_robustness,
    build_scorers,
    build_shipped,
    build_units,
)
from stage2_ensemble.fitted.bundle import ENSEMBLE, check_bundle
from stage2_ensemble.results.form import ValMetrics, has_val
from stage2_ensemble.results.metrics_file import read_metrics
from stage2_ensemble.sentences.called_fake import list_called_fake
from stage2_ensemble.sentences.outside import list_optimistic
from stage2_ensemble.sentences.rules import list_rules
from stage2_ensemble.sentences.scorers import list_cautions, list_corrected, list_units
from stage2_ensemble.sentences.without_val import list_last

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
        console.print(render_table(build_last(metrics)))
        for line in list_last(metrics):
            console.print(line, highlight=False)
    else:
        _print_val(console, metrics)
    if REPORT.is_file():
        console.print(f"The whole, with pictures: {REPORT}", highlight=False)
    console.print(f"Final labels: {LABELS}", highlight=False)


def _print_val(console: Console, metrics: ValMetrics) -> None:
    console.print(render_table(build_scorers(metrics)))
    if outside := build_outside(metrics):
        console.print(render_table(outside))
    for doubt in list_optimistic(metrics.get("outside_figures", {})):
        console.print(doubt, highlight=False)
    console.print(render_table(build_shipped(metrics)))
    for caution in list_cautions(metrics["val"]["stack"], metrics["rows"]["val"]["reals"]):
        console.print(caution, highlight=False)
    if called := build_called_fake(metrics):
        console.print(render_table(called))
    for sentence in list_called_fake(metrics["called_fake"]):
        console.print(Text(sentence))
    if comparisons := build_comparisons(metrics):
        console.print(render_table(comparisons))
    if units := build_units(metrics):
        console.print(render_table(units))
    elif "units" in metrics:
        for line in list_units(metrics["units"], metrics):
            console.print(line, highlight=False)
    if corrected := build_corrected(metrics):
        console.print(render_table(corrected))
    lines = [] if corrected else list_corrected(metrics)
    for line in (*lines, *list_rules(metrics)):
        console.print(line, highlight=False)
    console.print(render_table(build_promises(metrics)))
    console.print(render_table(build_robustness(metrics)))
    if tiers := build_tiers(metrics):
        console.print(render_table(tiers))
    console.print(render_table(build_blocks(metrics)))
    check_bundle(STACKERS)
    facts = read_json(STACKERS / ENSEMBLE, "stack")
    members = {int(fold): digests for fold, digests in facts["members"].items()}
    if table := build_without(metrics, read_costs(facts["backbones"], members)):
        console.print(render_table(table))
