"""What a whole run ends with: its answer in a few lines, and where the report and labels are."""

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from features.core.number_text import format_figure, format_percent
from features.runtime.terminal import build_console
from stage2_ensemble.results.answers import Answers
from stage2_ensemble.results.form import FinalMetrics, Metrics, ValMetrics, has_val
from stage2_ensemble.sentences.intervals import NOT_RELIABLE, format_interval
from stage2_ensemble.sentences.other_data import describe_gap, describe_short_robust
from stage2_ensemble.sentences.scorers import describe_null_model, describe_worth, name_decider
from stage2_ensemble.sentences.without_val import describe_earlier

BESIDE = {"mean": "mean", "best_single": "best single"}


def print_closing(
    metrics: Metrics,
    report_path: Path | None,
    labels_path: Path,
    console: Console | None = None,
) -> None:
    """The table of `list_closing`, within 80 columns. Nothing when quiet, as JSON log lines, unless
    a console is given."""
    table = Table(box=None, show_header=False, title=_name_rows(metrics), title_justify="left")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in list_closing(metrics, report_path, labels_path):
        table.add_row(Text(name, "bold"), Text(text))
    (console or build_console()).print(table)


def list_closing(
    metrics: Metrics, report_path: Path | None, labels_path: Path
) -> list[tuple[str, str]]:
    """At most nine pairs of a name and what there is to say; `metrics` as in `metrics.json`."""
    found = _list_last(metrics) if not has_val(metrics) else _list_val(metrics)
    report = [("report", str(report_path))] if report_path else []
    return [*found, *report, ("labels", str(labels_path))]


def _name_rows(metrics: Metrics) -> str:
    if not has_val(metrics):
        return str(metrics["note"])
    rows = metrics["rows"]["val"]
    doubt = "" if metrics["val"]["stack"]["reliable"] else f"; few groups: {NOT_RELIABLE}"
    return f"val: {rows['reals']:,} real, {rows['fakes']:,} fake{doubt}"


def _list_val(metrics: ValMetrics) -> Iterator[tuple[str, str]]:
    val = metrics["val"]
    yield "ships", f"{val['shipped']}, AUC {format_interval(val['stack'])}"
    simple = [("mean", val["mean"]), ("best single", val["best_single"])]
    if len(metrics["backbone_figures"]) == 1:
        simple.pop()  # it is the mean
    yield "beside it", ", ".join(f"{name} {format_interval(values)}" for name, values in simple)
    if metrics["robustness"]["robust"]:
        yield "robust", describe_short_robust(metrics["robustness"])
    yield "null model", describe_null_model(val["null_model"])
    yield name_decider(metrics["answers"]), _describe_answers(metrics["answers"])
    yield "worth it?", describe_worth(val)
    if gap := metrics["domains"].get("gap"):
        yield "unseen", describe_gap(gap)


def _describe_answers(answers: Answers) -> str:
    pairs = ("FPR", answers["reals"]), ("TPR", answers["fakes"])
    rates = [f"{name} {format_figure(**found['fake'])}" for name, found in pairs]
    if "review" in answers:
        reals, fakes = (
            format_percent(found["review"]["value"]) for _, found in pairs if "review" in found
        )
        rates.append(f"to review {reals} of reals, {fakes} of fakes")
    return ", ".join(rates)


def _list_last(metrics: FinalMetrics) -> Iterator[tuple[str, str]]:
    """Of a run that has learned from val too."""
    found, shipped = metrics["out_of_fold"], metrics["shipped"]
    yield "ships", f"{shipped}: out-of-fold AUC {format_figure(found['auc'][shipped])}"
    said = [f"{text} {format_figure(found['auc'][name])}" for name, text in BESIDE.items()]
    yield "beside it", ", ".join(said)
    rates = [
        f"{key.upper()} {format_figure(found['threshold'][key]['value'])}" for key in ("fpr", "tpr")
    ]
    yield "threshold", f"{', '.join(rates)} on {found['read_on']} rows"
    yield "before", describe_earlier(metrics["earlier"], shipped)
