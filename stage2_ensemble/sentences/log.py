"""What `evaluate` logs of its metrics, line by line."""

from collections.abc import Iterator, Mapping

from features.runtime.costs import Cost
from stage2_ensemble.results.form import FinalMetrics, Metrics, ValMetrics, has_val
from stage2_ensemble.sentences.backbones import list_reasons
from stage2_ensemble.sentences.called_fake import list_called_fake
from stage2_ensemble.sentences.other_data import list_comparisons, list_robustness
from stage2_ensemble.sentences.outside import list_outside
from stage2_ensemble.sentences.rules import describe_promise, list_rules
from stage2_ensemble.sentences.scorers import (
    describe_behind_mean,
    list_cautions,
    list_corrected,
    list_gains,
    list_scores,
    list_units,
)
from stage2_ensemble.sentences.without_val import list_last, list_out_of_fold


def list_log_lines(metrics: Metrics, costs: Mapping[str, Cost]) -> Iterator[str]:
    """All there is to say. `costs`: of backbones, as far as known; for the log alone."""
    if has_val(metrics):
        yield from _list_val(metrics, costs)
    else:
        yield from _list_final(metrics)


def _list_val(metrics: ValMetrics, costs: Mapping[str, Cost]) -> Iterator[str]:
    val = metrics["val"]
    yield from list_scores(metrics)
    yield from list_outside(metrics)
    yield from list_comparisons(metrics)
    yield from list_called_fake(metrics["called_fake"])
    if "units" in metrics:
        yield from list_units(metrics["units"], metrics)
    yield from list_gains(val["differences"])
    for caution in list_cautions(val["stack"], metrics["rows"]["val"]["reals"]):
        yield f"what ships: {caution}"
    yield from list_corrected(metrics)
    yield from list_rules(metrics)
    yield from map(describe_promise, metrics["promises"].values())
    yield from list_robustness(metrics["robustness"], val["shipped"])
    yield from list_reasons(metrics, costs)
    if behind := describe_behind_mean(val):
        yield behind


def _list_final(metrics: FinalMetrics) -> Iterator[str]:
    yield from list_out_of_fold(metrics)
    yield from list_last(metrics)
