"""What val tells of other data: new generators, changed pictures."""

from collections.abc import Iterator, Sequence

from features.artifacts.perturbed import CLEAN
from features.core.number_text import format_figure
from stage2_ensemble.findings.domains import ADJECTIVES
from stage2_ensemble.findings.robustness import SCORERS, name_variant
from stage2_ensemble.results.form import ValMetrics
from stage2_ensemble.results.robustness import Robustness, VariantMetrics, VariantScores
from stage2_ensemble.results.scores import Comparison, Gap, Generator, list_domains
from stage2_ensemble.sentences.intervals import (
    INTERVALS,
    NOT_RELIABLE,
    format_change,
    format_interval,
    judge_difference,
)

GAPS = {"above": "it does worse on unseen ones", "below": "it does no worse on unseen ones"}
NO_UNSEEN = (
    "All generators of val are in train as well, or have no name: how it does on new ones is not "
    "known. Name some in split.hold_out."
)
NO_GAP = (
    "Val has unseen generators, but they cannot be compared with seen ones, since one side lacks a "
    "class: how much worse it does on new ones is not known."
)
WORST = 3
"""Variants that are told."""


def list_comparisons(metrics: ValMetrics) -> Iterator[str]:
    """What ships by generator and, where val has several, by domain, and the gap."""
    domains = list_domains(metrics["domains"])
    for generator in metrics["generators"].values():
        yield _describe_comparison(generator, f"; {ADJECTIVES[generator['domain']]}")
    if len(domains) > 1:
        for values in domains.values():
            yield _describe_comparison(values)
    if gap := metrics["domains"].get("gap"):
        yield explain_gap(gap)


def _describe_comparison(values: Comparison | Generator, domain: str = "") -> str:
    doubt = "" if values["reliable"] else f" ({NOT_RELIABLE})"
    return (
        f"val AUC {format_interval(values)}{doubt} on {values['against']} "
        f"(null model {format_figure(values['null_auc'])}{domain})"
    )


def describe_gap(gap: Gap) -> str:
    """`AUC on seen minus on unseen generators +0.0046 [-0.0283, +0.0582]`."""
    return f"AUC on seen minus on unseen generators {format_change(gap)}"


def explain_gap(gap: Gap) -> str:
    """The same with what it shows, and of which rows."""
    side = judge_difference(gap)
    said = GAPS.get(side, "no gap is shown")
    return f"{describe_gap(gap)}: {said}, {INTERVALS[side]} ({gap['against']})"


def describe_chance(found: Comparison) -> str:
    """That an AUC is not shown to be better than chance."""
    return (
        f"On {found['against']} it is not shown to be better than chance: "
        f"AUC {format_interval(found)}."
    )


def find_worst(robustness: Robustness, least: float | None = None) -> VariantMetrics | None:
    """The variant under which what ships loses most, if any was measured; of those under which it
    loses more than `least` by its whole interval, if that is given.
    """
    measured = [
        variant
        for variant in robustness["variants"]
        if variant["perturbation"] != CLEAN and variant["scorers"]["stack"]["change"] is not None
    ]
    if least is not None:
        highs = [variant["scorers"]["stack"]["change_high"] for variant in measured]
        measured = [v for v, high in zip(measured, highs, strict=True) if (high or 0.0) < -least]
    return min(measured, key=lambda v: v["scorers"]["stack"]["change"] or 0.0, default=None)


def describe_variant(variant: VariantMetrics) -> str:
    """`jpeg 75: AUC 0.900 [0.870, 0.920], -0.0123 [-0.0211, -0.0040] against the same …`."""
    values = variant["scorers"]["stack"]
    return (
        f"{name_variant(variant)}: AUC {format_interval(values)}, "
        f"{format_change(values, 'change')} against the same pictures as they are"
    )


def describe_robust(robustness: Robustness, scorer: str = "stack") -> str:
    """`0.812 [0.790, 0.834], the mean over clean, web, hard; lowest 0.712 [0.680, 0.744], hard`."""
    values = robustness["robust"][scorer]
    return (
        f"{format_interval(values)}, the mean over {', '.join(robustness['tiers'])}; "
        f"lowest {format_interval(values, 'worst_auc')}, {values['worst']}"
    )


def describe_short_robust(robustness: Robustness) -> str:
    """Within a line: `AUC 0.812 [0.790, 0.834], lowest 0.712 [0.680, 0.744] (hard)`."""
    values = robustness["robust"]["stack"]
    lowest = format_interval(values, "worst_auc")
    return f"AUC {format_interval(values)}, lowest {lowest} ({values['worst']})"


def explain_robust(robustness: Robustness) -> str:
    """Robust AUC of what ships in whole sentences."""
    return (
        f"Robust AUC {describe_robust(robustness)}: as files come back from the web (perturb."
        f"tiers), on {robustness['reals']:,} reals and {robustness['fakes']:,} fakes of val."
    )


def list_robustness(robustness: Robustness, shipped: str) -> list[str]:
    """Robust AUCs, the rows, what hurts most of what ships, and which scorer holds best, a line
    each.
    """
    if not robustness["rows"]:
        return [f"robustness: nothing is measured: {robustness['note']}"]
    plain, *changed = robustness["variants"]
    stack = plain["scorers"]["stack"]
    lines = [
        f"robust AUC of {'what ships' if scorer == 'stack' else scorer}: "
        f"{describe_robust(robustness, scorer)}"
        for scorer in robustness["robust"]
        if scorer != shipped  # `stack` is that one
    ]
    lines += [
        f"robustness, on {robustness['reals']} reals and {robustness['fakes']} fakes of val: AUC "
        f"{format_interval(stack)} of what ships with pictures as they are, {_name_rates(stack)}"
    ]
    worst = sorted(changed, key=lambda variant: variant["scorers"]["stack"]["auc"])[:WORST]
    for variant in worst:
        rates = _name_rates(variant["scorers"]["stack"])
        lines.append(f"what ships under {describe_variant(variant)}; {rates}")
    return [*lines, _describe_best(changed, shipped)]


def _describe_best(changed: Sequence[VariantMetrics], shipped: str) -> str:
    """Which scorer's lowest AUC is highest, and whether the intervals tell them apart."""
    kept = [name for name in SCORERS if name != shipped]  # `stack` is that one
    lowest = {}
    for scorer in kept:
        worst = min(changed, key=lambda variant: variant["scorers"][scorer]["auc"])
        lowest[scorer] = (worst["scorers"][scorer], name_variant(worst))
    best = max(lowest, key=lambda scorer: lowest[scorer][0]["auc"])
    parts = [f"{format_interval(v)} of {s} ({where})" for s, (v, where) in lowest.items()]
    low = lowest[best][0]["auc_low"]
    others = [values["auc_high"] for s, (values, _) in lowest.items() if s != best]
    apart = low is not None and all(high is not None and high < low for high in others)
    said = f"{best} holds best" if apart else "intervals overlap, no order is shown"
    return f"lowest AUC {', '.join(parts)}: {said}"


def _name_rates(values: VariantScores) -> str:
    fpr, tpr = (format_figure(values[rate]) for rate in ("fpr", "tpr"))
    return f"FPR {fpr} and TPR {tpr} at its threshold"
