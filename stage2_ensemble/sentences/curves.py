"""What curves of val, its scores and its answers show: captions of their figures.

describe_confusion(tables)   # At the threshold, of 24 reals 3 are called fake and …
"""

from collections.abc import Mapping

import pandas as pd

from features.core.number_text import format_figure, format_percent
from stage2_ensemble.decisions.conformal import REVIEW
from stage2_ensemble.results.form import ValMetrics
from stage2_ensemble.results.scores import read_interval
from stage2_ensemble.sentences.scorers import describe_rates, name_decider


def describe_roc(metrics: ValMetrics) -> str:
    """What is found where labels are decided, and with 1 % of reals called fake."""
    stack = metrics["val"]["stack"]
    answers = metrics["answers"]
    where = f"by its {name_decider(answers)}" if "review" in answers else "at its threshold"
    text = f"{describe_rates(answers)}: {metrics['val']['shipped']} {where}."
    at_one = stack["tpr_at_fpr_1e-2"]
    if at_one is None:
        return text + " Val has too few reals to say what it finds at 1 %."
    behind = stack["false_positives_1e-2"]
    return text + (
        f" With 1 % of reals called fake it would find {format_percent(at_one)}; "
        f"{behind} {'real stands' if behind == 1 else 'reals stand'} behind that."
    )


def describe_pr(metrics: ValMetrics) -> str:
    """Average precision, beside what chance reaches."""
    rows, stack = metrics["rows"]["val"], metrics["val"]["stack"]
    share = rows["fakes"] / (rows["fakes"] + rows["reals"])
    precision = format_figure(stack["ap"], stack["ap_low"], stack["ap_high"])
    chance = format_percent(share)
    return f"Average precision {precision}; {chance} of val is fake, which chance reaches."


def describe_reliability(metrics: ValMetrics) -> str:
    """The calibration error before and after calibration."""
    found = metrics["calibration"]
    before, after = (
        format_figure(*read_interval(checked, "ece"))
        for checked in (found["val_before"], found["val_after"])
    )
    return (
        f"Calibration error {before} before and {after} after "
        f"({found['name']}). On the line, probabilities are true; a larger mark is more rows."
    )


def describe_histogram(metrics: ValMetrics) -> str:
    """Where the threshold or the review band stands and what chose it."""
    threshold, review = metrics["threshold"], metrics["answers"].get("review")
    tail = (
        "The less both classes overlap, the better. Rows beyond the ends are counted at the ends."
    )
    if review:
        return (
            f"Right of {format_figure(review['high'])} log-odds a row is called fake, left of "
            f"{format_figure(review['low'])} real, and between them it is left to review (the "
            f"band was chosen on rows of train). {tail}"
        )
    return (
        f"Right of {format_figure(threshold['read'])} log-odds a row is called fake "
        f"(chosen by {threshold['policy']} on rows of train). {tail}"
    )


def describe_confusion(tables: Mapping[str, pd.DataFrame]) -> str:
    """How many rows of each class got which answer."""
    table = tables["confusion"].set_index("label")
    parts = [
        f"of {table.loc[label].sum():,} {label}s "
        + " and ".join(
            f"{table.loc[label, answer]:,} are "
            + ("left to review" if answer == REVIEW else f"called {answer}")
            for answer in table.columns
        )
        for label in table.index
    ]
    where = "By the review band" if REVIEW in table.columns else "At the threshold"
    return f"{where}, {'; '.join(parts)}."
