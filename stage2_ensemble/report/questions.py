"""What a report answers first: how good, is the stack worth it, can it be trusted elsewhere?

From `metrics.json` alone. An answer never says more than its interval does.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from features.core.manifest import SEEN
from stage2_ensemble.gate.gate import Verdict, describe_choice
from stage2_ensemble.models.candidates import GATED
from stage2_ensemble.results.form import Metrics, ValMetrics, has_val
from stage2_ensemble.results.scores import Comparison, list_domains
from stage2_ensemble.sentences.backbones import describe_loud, list_spare
from stage2_ensemble.sentences.called_fake import NO_SOURCES, describe_worst, is_any_worse
from stage2_ensemble.sentences.intervals import (
    FEW_GROUPS,
    NOT_RELIABLE,
    format_interval,
    judge_difference,
)
from stage2_ensemble.sentences.other_data import (
    NO_GAP,
    NO_UNSEEN,
    describe_chance,
    describe_variant,
    explain_gap,
    explain_robust,
    find_worst,
)
from stage2_ensemble.sentences.outside import list_optimistic
from stage2_ensemble.sentences.rules import describe_broken
from stage2_ensemble.sentences.scorers import (
    count_folds,
    describe_gain_on_val,
    describe_null_model,
    describe_rates,
    describe_short_worth,
    describe_told_apart,
)
from stage2_ensemble.sentences.without_val import list_last

Tone = Literal["good", "mixed", "bad", "open", "plain"]
CHANCE = 0.5
MARKED = 0.01
"""A loss of AUC under a perturbation is a reason for doubt where its whole interval is larger."""


@dataclass(frozen=True)
class Answer:
    """To one question: the answer in a few words, and what it stands on."""

    question: str
    short: str
    tone: Tone
    reasons: tuple[str, ...]


def answer_questions(
    metrics: Metrics, verdicts: Sequence[Verdict], gate_choice: str
) -> list[Answer]:
    """The answers. `verdicts`: of the gate; `gate_choice`: what it would ship."""
    if not has_val(metrics):
        note = "There is no held-out val: val has joined train"
        return [Answer("How good is it?", note, "open", tuple(list_last(metrics)[1:]))]
    return [_say_how_good(metrics), _say_worth(metrics, verdicts, gate_choice), _say_trust(metrics)]


def _say_how_good(metrics: ValMetrics) -> Answer:
    val, rows = metrics["val"], metrics["rows"]["val"]
    stack = val["stack"]
    reasons = [
        f"AUC {format_interval(stack)}: so often does a fake score above a real, of all pairs of "
        "them. 0.5 is chance, 1 is perfect.",
        f"Measured on {rows['reals']:,} reals and {rows['fakes']:,} fakes of val, "
        f"{stack['groups']:,} groups, on which nothing was fitted or chosen. "
        "Brackets are 95 % intervals.",
    ]
    if metrics["robustness"]["robust"]:
        reasons.append(explain_robust(metrics["robustness"]))
    if not stack["reliable"]:
        reasons.append(f"{FEW_GROUPS.capitalize()}: {NOT_RELIABLE}.")
    reasons.append(
        f"The null model has {describe_null_model(val['null_model'])}: sizes, formats, names."
    )
    tone: Tone = "plain" if stack["reliable"] else "open"
    return Answer("How good is it?", describe_rates(metrics["answers"]), tone, tuple(reasons))


def _say_worth(metrics: ValMetrics, verdicts: Sequence[Verdict], gate_choice: str) -> Answer:
    val = metrics["val"]
    shipped = val["shipped"]
    folds = count_folds(val["members"])
    reasons = [
        describe_gain_on_val(shipped, other, gain, folds)
        for other, gain in val["differences"].items()
    ]
    reasons += [
        f"Out of fold, AUC against the best simple combiner, {v.describe()}." for v in verdicts
    ]
    for sentence in describe_choice(verdicts, gate_choice, shipped):
        reasons.append(f"{sentence[0].upper()}{sentence[1:]}.")
    if loud := describe_loud(metrics["backbone_figures"], shipped):
        reasons.append(loud)
    if spare := list_spare(metrics["without"]):
        reasons.append(f"No loss is shown without, one at a time: {', '.join(spare)}.")
    tone: Tone = "good" if shipped in GATED and shipped == gate_choice else "mixed"
    short = describe_short_worth(val, gate_choice, bool(verdicts))
    return Answer("Is the stack worth it?", short, tone, tuple(reasons))


def _say_trust(metrics: ValMetrics) -> Answer:
    doubts, known = list(_list_doubts(metrics)), list(_list_comforts(metrics))
    question = "Can it be trusted on other data?"
    if doubts:
        some = "is one reason" if len(doubts) == 1 else f"are {len(doubts)} reasons"
        first = ", named first" if known else ""  # what follows is none
        return Answer(question, f"There {some} for doubt{first}", "bad", (*doubts, *known))
    if not _has_unseen(metrics):
        return Answer(question, "Val cannot tell: it has no unseen generators", "open", (*known,))
    gap = metrics["domains"].get("gap")
    if not gap or judge_difference(gap) == "unknown":
        short = "Val cannot tell: its unseen generators cannot be compared with seen ones"
        return Answer(question, short, "open", (*known,))
    return Answer(question, "Val shows no reason for doubt", "good", (*known,))


def _list_doubts(metrics: ValMetrics) -> Iterator[str]:
    val = metrics["val"]
    if val["null_model"]["told_apart"]:
        yield describe_told_apart(val["null_model"])
    gap = metrics["domains"].get("gap")
    if gap and judge_difference(gap) == "above":
        yield f"{explain_gap(gap)}."
    yield from map(describe_chance, _list_chance(metrics))
    reals = metrics["called_fake"]["reals"]
    if is_any_worse("reals", "sources", reals):
        yield describe_worst("reals", "sources", reals)
    if worst := find_worst(metrics["robustness"], MARKED):
        yield f"It does worse on changed pictures, most clearly under {describe_variant(worst)}."
    if broken := describe_broken(metrics["promises"]):
        yield broken
    yield from list_optimistic(metrics.get("outside_figures", {}))
    if not val["stack"]["reliable"]:
        yield f"Val is of {FEW_GROUPS}: {NOT_RELIABLE}."


def _list_comforts(metrics: ValMetrics) -> Iterator[str]:
    domains = metrics["domains"]
    gap = domains.get("gap")
    if gap and judge_difference(gap) != "above":
        yield f"{explain_gap(gap)}."
    if not gap:
        yield NO_GAP if _has_unseen(metrics) else NO_UNSEEN
    doubted = _list_chance(metrics)
    for found in list_domains(domains).values() if _has_unseen(metrics) else ():
        if found["auc"] is not None and found not in doubted:
            yield f"AUC {format_interval(found)} on {found['against']}."
    reals = metrics["called_fake"]["reals"]
    if not reals["sources"]:
        yield NO_SOURCES
    elif not is_any_worse("reals", "sources", reals):
        yield describe_worst("reals", "sources", reals)
    worst = find_worst(metrics["robustness"])
    if worst and not find_worst(metrics["robustness"], MARKED):
        yield f"Of changed pictures it does worst under {describe_variant(worst)}."


def _list_chance(metrics: ValMetrics) -> list[Comparison]:
    """Rows that are not seen, on which an AUC of chance is not ruled out."""
    others = [v for name, v in list_domains(metrics["domains"]).items() if name != SEEN]
    return [v for v in others if v["auc_low"] is not None and v["auc_low"] <= CHANCE]


def _has_unseen(metrics: ValMetrics) -> bool:
    """Val has rows of generators that train lacks."""
    return any(domain != SEEN for domain in list_domains(metrics["domains"]))
