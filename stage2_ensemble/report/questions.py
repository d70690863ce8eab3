"""What a report answers first: how good, is the stack worth it, can it be trusted elsewhere?

From `metrics.json` alone. An answer never says more than its interval does.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from features.core.auc import AucEstimate
from features.core.number_text import format_difference, format_of_hundred
from stage2_ensemble.findings.final_run import list_last
from stage2_ensemble.findings.promises import BY_CHANCE, KEPT
from stage2_ensemble.findings.reasons import BETTER, NOT_TOLD, judge_loss
from stage2_ensemble.findings.robustness import name_variant
from stage2_ensemble.findings.scorers import NOT_RELIABLE
from stage2_ensemble.measures.resampling import LEAST_GROUPS
from stage2_ensemble.models.candidates import GATED
from stage2_ensemble.results.form import (
    Metrics,
    Promise,
    Robustness,
    ValMetrics,
    VariantScores,
    has_val,
)
from stage2_ensemble.results.scores import Auc, list_domains, read_interval

Tone = Literal["good", "mixed", "bad", "open", "plain"]
MARKED = 0.01
"""A loss of AUC under a perturbation counts as a reason for doubt where it is larger for sure."""


@dataclass(frozen=True)
class Answer:
    """To one question: the answer in a few words, and what it stands on."""

    question: str
    short: str
    tone: Tone
    reasons: tuple[str, ...]


def answer_questions(metrics: Metrics, verdicts: Sequence[Mapping[str, Any]]) -> list[Answer]:
    """The answers. `verdicts`: of the gate, as in the bundle."""
    if not has_val(metrics):
        note = "There is no held-out val: val has joined train"
        return [Answer("How good is it?", note, "open", tuple(list_last(metrics)[1:]))]
    return [_say_how_good(metrics), _say_worth(metrics, verdicts), _say_trust(metrics)]


def _say_how_good(metrics: ValMetrics) -> Answer:
    val, rows = metrics["val"], metrics["rows"]["val"]
    stack = val["stack"]
    reasons = [
        f"AUC {describe(stack)}: so often does a fake score above a real, of all pairs of them. "
        "0.5 is chance, 1 is perfect.",
        f"Measured on {rows['reals']:,} reals and {rows['fakes']:,} fakes of val, "
        f"{stack['groups']:,} groups, on which nothing was fitted or chosen. "
        "Brackets are 95 % intervals.",
    ]
    if not stack["reliable"]:
        reasons.append(f"Fewer than {LEAST_GROUPS} groups of a class: {NOT_RELIABLE}.")
    null = val["null_model"]
    reasons.append(
        "Without looking at any picture, sizes, formats and names of files reach an AUC of "
        f"{describe(null)}."
    )
    rates = [_count_of_hundred(metrics["promises"][name]) for name in ("fpr", "tpr")]
    short = f"Of 100 reals it calls {rates[0]} fake; of 100 fakes it finds {rates[1]}"
    return Answer(
        "How good is it?", short, "plain" if stack["reliable"] else "open", tuple(reasons)
    )


def _count_of_hundred(entry: Promise) -> str:
    return format_of_hundred(entry["realised"], entry["realised_low"], entry["realised_high"])


def _say_worth(metrics: ValMetrics, verdicts: Sequence[Mapping[str, Any]]) -> Answer:
    val = metrics["val"]
    shipped, gains = val["shipped"], val["differences"]
    reasons = [_describe_gain(shipped, other, gain) for other, gain in gains.items()]
    reasons += [_describe_verdict(verdict) for verdict in verdicts]
    spare = [
        name
        for name, values in metrics["without"].items()
        if judge_loss(values) in (NOT_TOLD, BETTER)
    ]
    if spare:
        reasons.append(f"Not missed when left out, one at a time: {', '.join(spare)}.")
    if shipped in GATED:
        short = f"Yes: {shipped} won out of fold, for sure, and ships"
        return Answer("Is the stack worth it?", short, "good", tuple(reasons))
    short = f"Not for sure: LightGBM did not win out of fold, and {shipped} ships"
    if "best_single" in gains and is_above(gains["best_single"]):
        short = f"Several networks are; LightGBM did not win out of fold for sure. {shipped} ships"
    return Answer("Is the stack worth it?", short, "mixed", tuple(reasons))


def _describe_gain(shipped: str, other: str, gain: Auc) -> str:
    simple = {"mean": "plain mean of the networks", "best_single": "best single network"}[other]
    text = describe_difference(gain)
    if is_above(gain):
        return f"On val {shipped} beats the {simple}: {text} AUC."
    if is_below(gain):
        return f"On val {shipped} is worse than the {simple}: {text} AUC."
    return f"Between {shipped} and the {simple} val can tell no difference: {text} AUC."


def _describe_verdict(verdict: Mapping[str, Any]) -> str:
    difference = format_difference(*(verdict[key] for key in ("difference", "low", "high")))
    return (
        f"Out of fold, {verdict['name']} minus the best simple combiner: "
        f"{difference} AUC: {verdict['outcome']}."
    )


def _say_trust(metrics: ValMetrics) -> Answer:
    doubts, known = list(_list_doubts(metrics)), list(_list_comforts(metrics))
    question = "Can it be trusted on other data?"
    if doubts:
        some = "is one reason" if len(doubts) == 1 else f"are {len(doubts)} reasons"
        return Answer(question, f"There {some} for doubt", "bad", (*doubts, *known))
    if "gap" not in metrics["domains"]:
        return Answer(question, "Val cannot tell: it has no unseen generators", "open", (*known,))
    return Answer(question, "Val shows no reason for doubt", "good", (*known,))


def _list_doubts(metrics: ValMetrics) -> Iterator[str]:
    val = metrics["val"]
    if val["null_model"]["told_apart"]:
        yield (
            "The classes can be told apart without looking, mostly by "
            f"{val['null_model']['main_feature']}: networks may have learned how files were saved."
        )
    gap = metrics["domains"].get("gap")
    if gap and is_above(gap):
        loss = describe_difference(gap)
        yield f"It does worse on what it has not seen: {loss} AUC, {gap['against']}."
    worst = _find_worst(metrics["robustness"])
    if worst and (worst[1]["change_high"] or 0) < -MARKED:
        yield f"It does worse on changed pictures, most under {_describe_worst(*worst)}."
    broken = [
        p["title"] for p in metrics["promises"].values() if p["verdict"] not in (KEPT, BY_CHANCE)
    ]
    if broken:
        yield f"Promised on rows of train and not kept on val: {', '.join(broken)}."
    if not val["stack"]["reliable"]:
        yield f"Val is of fewer than {LEAST_GROUPS} groups of a class: {NOT_RELIABLE}."


def _list_comforts(metrics: ValMetrics) -> Iterator[str]:
    domains = metrics["domains"]
    gap = domains.get("gap")
    if gap and not is_above(gap):
        yield (
            "Between seen and unseen generators no gap can be told: "
            f"{describe_difference(gap)} AUC, {gap['against']}."
        )
    if not gap:
        yield (
            "All generators of val are in train as well, or have no name: how it does on new ones "
            "is not known. Name some in split.hold_out."
        )
    for found in list_domains(domains).values() if gap else ():
        yield f"AUC {describe(found)} on {found['against']}."
    worst = _find_worst(metrics["robustness"])
    if worst and (worst[1]["change_high"] or 0) >= -MARKED:
        yield f"Of changed pictures it does worst under {_describe_worst(*worst)}."


def _find_worst(robustness: Robustness) -> tuple[str, VariantScores] | None:
    """The variant under which what ships loses most, if any was measured."""
    variants = [v for v in robustness["variants"] if v["perturbation"] != "none"]
    measured = [v for v in variants if v["scorers"]["stack"]["change"] is not None]
    if not measured:
        return None
    worst = min(measured, key=lambda v: v["scorers"]["stack"]["change"] or 0.0)
    return name_variant(worst), worst["scorers"]["stack"]


def _describe_worst(name: str, values: VariantScores) -> str:
    change = AucEstimate(*read_interval(values, "change"))
    text = change.describe_difference()
    return f"{name}: AUC {describe(values)}, {text} against the same pictures as they are"


def describe(values: Mapping[str, Any]) -> str:
    """`0.956 [0.941, 0.969]`."""
    return AucEstimate.from_metrics(values).describe()


def describe_difference(values: Mapping[str, Any]) -> str:
    """`+0.0123 [-0.0021, +0.0268]`."""
    return AucEstimate.from_metrics(values).describe_difference()


def is_above(values: Auc) -> bool:
    """A difference of AUC is above zero for sure."""
    return values["auc_low"] is not None and values["auc_low"] > 0


def is_below(values: Auc) -> bool:
    """A difference of AUC is below zero for sure."""
    return values["auc_high"] is not None and values["auc_high"] < 0
