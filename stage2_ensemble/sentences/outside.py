"""What is declared of detectors from outside, and what their figures say about it."""

from collections.abc import Iterator, Mapping

from stage2_ensemble.results.form import DECLARED, OutsideFigures, ValMetrics
from stage2_ensemble.sentences.intervals import format_change, format_interval, judge_difference

LEARNED = {
    "none": "none of the rows of train",
    "unknown": "unknown rows, of train maybe",
}
UNCHECKED = (
    f"{DECLARED}: what a detector from outside learned from is what was said of it; it cannot be "
    "checked"
)


def list_outside(metrics: ValMetrics) -> Iterator[str]:
    """Each detector: what is declared, how many rows it has scored, how well, and what of it."""
    for name, values in metrics.get("outside_figures", {}).items():
        yield describe_detector(name, values)
    yield from list_optimistic(metrics.get("outside_figures", {}))


def describe_detector(name: str, values: OutsideFigures) -> str:
    """`a, from outside, declared to have learned from …: scores of …; AUC … on train, … on val`."""
    learned = LEARNED[values["learned_from"]]
    aucs = (f"{format_interval(values[role])} on {role}" for role in ("train", "val"))
    return (
        f"{name}, from outside, declared to have learned from {learned}: "
        f"scores of {describe_scored(values)}; AUC {', '.join(aucs)}"
    )


def describe_scored(values: OutsideFigures) -> str:
    """`3,990 of 4,000 train, 1,200 of 1,200 val, …`."""
    parts = (f"{values['scored'][r]:,} of {count:,} {r}" for r, count in values["rows"].items())
    return ", ".join(parts)


def list_optimistic(outside: Mapping[str, OutsideFigures]) -> Iterator[str]:
    """Detectors whose AUC on train is above that on val by more than chance."""
    for name, values in outside.items():
        if judge_difference(values["difference"]) == "above":
            yield (
                f"{name} is better on train than on val: AUC {format_change(values['difference'])}."
                " It may have learned from rows of train; then what was fitted and chosen there "
                "trusts it too much, and figures of train are too good. Leave it out, or bring "
                "scores of train by a copy of it that did not learn from them."
            )
