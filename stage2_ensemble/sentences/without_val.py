"""What there is to say of a run without val (`data.final`)."""

from collections.abc import Iterator

from features.core.number_text import format_figure
from stage2_ensemble.results.form import EarlierRun, FinalMetrics
from stage2_ensemble.sentences.intervals import format_change, format_interval


def list_out_of_fold(metrics: FinalMetrics) -> Iterator[str]:
    """The AUC of every candidate."""
    for name, auc in metrics["out_of_fold"]["auc"].items():
        ships = "  <- ships" if name == metrics["shipped"] else ""
        yield f"out-of-fold AUC {format_figure(auc)} {name}{ships}"


def list_last(metrics: FinalMetrics) -> list[str]:
    """What there is to say, a line each, without the AUCs of candidates."""
    found, shipped = metrics["out_of_fold"], metrics["shipped"]
    calibration, threshold = found["calibration"], found["threshold"]
    rates = ", ".join(
        f"{name.upper()} {format_figure(threshold[name]['value'])}" for name in ("fpr", "tpr")
    )
    return [
        f"{metrics['note']}; what follows stands on rows of train",
        f"{shipped} ships; the gate has judged again, on out-of-fold rows",
        f"calibration: {calibration['name']}, chosen on {found['read_on']} rows "
        f"({calibration['reason']}); ECE there {format_figure(calibration['ece_before'])} before, "
        f"{format_figure(calibration['ece_after'])} after",
        f"share of fakes: probabilities assume {format_figure(found['prior']['value'])} "
        f"({found['prior']['reason']})",
        f"threshold: log-odds {format_figure(threshold['value'])} by {threshold['policy']}; "
        f"{rates} there",
        *(
            f"without {backbone}: AUC {format_change(less)} out of fold"
            for backbone, less in found["without"].items()
        ),
        describe_earlier(metrics["earlier"], shipped),
    ]


def describe_earlier(earlier: EarlierRun | str, shipped: str) -> str:
    """The quoted run in a line."""
    if isinstance(earlier, str):
        return earlier
    rows, name = earlier["rows"], earlier["shipped"]
    auc = format_interval(earlier)
    other = "" if name == shipped else f", which is not what ships now ({shipped})"
    return (
        f"the earlier run, with val: AUC {auc} of {name}{other}, on {rows['reals']} reals and "
        f"{rows['fakes']} fakes"
    )
