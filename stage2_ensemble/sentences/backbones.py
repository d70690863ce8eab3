"""Why scores come out as they do: what moves them, who is loud, what each backbone is worth."""

from collections.abc import Mapping

from features.core.number_text import IntervalSide, format_percent
from features.runtime.costs import Cost
from stage2_ensemble.models.candidates import GATED
from stage2_ensemble.results.form import (
    BackboneFigures,
    BlockFigures,
    LeftOut,
    LeftOutOnVal,
    ValMetrics,
)
from stage2_ensemble.sentences.intervals import (
    INTERVALS,
    format_change,
    judge_difference,
)

LOSSES: dict[IntervalSide, str] = {
    "below": "missed",
    "above": "better without it",
    "around": "no loss shown",
    "unknown": "no loss known",
}
LOUD = 3.0
"""Times the spread of another's log-odds: of the mean of both, nine tenths of the variance are
then its own."""
SAY = {
    "mean": "It ships all the same",
    "rank_mean": "What ships is rank_mean, in which each counts the same",
    "greedy": "What ships is greedy, the mean of those that help, each as often as it was chosen",
    "best_single": "What ships is best_single, one backbone alone",
}
"""What comes of loud ones in each combiner; all others learn what log-odds are worth."""
MARGINAL = 0.01
"""Shares of a block below this are not told."""


def list_reasons(metrics: ValMetrics, costs: Mapping[str, Cost]) -> list[str]:
    """What carries what ships and the gated candidates, loud backbones, and each one left out."""
    shipped = metrics["val"]["shipped"]
    names = dict.fromkeys((shipped, *GATED))
    lines = []
    for name in names:
        if name in metrics["blocks"]:
            ships = " (ships)" if name == shipped else ""
            lines.append(f"{name}{ships}: {describe_contributions(metrics['blocks'][name])}")
    if loud := describe_loud(metrics["backbone_figures"], shipped):
        lines.append(loud)
    for backbone, values in metrics["without"].items():
        lines.append(describe_left_out(backbone, values, costs[backbone], shipped))
    return lines


def describe_loud(backbones: Mapping[str, BackboneFigures], shipped: str) -> str:
    """Whose log-odds are so large that most of the plain mean's variance is theirs, and what ships
    instead; empty where none are.
    """
    spreads = {name: figures["spread"] for name, figures in backbones.items()}
    quiet = min(spreads, key=lambda name: spreads[name])
    loud = [name for name, spread in spreads.items() if spread > LOUD * spreads[quiet]]
    if sum(spreads[name] ** 2 for name in loud) <= sum(s**2 for s in spreads.values()) / 2:
        return ""
    said = SAY.get(shipped, f"What ships is {shipped}, which has learned what log-odds are worth")
    return (
        f"The plain mean is mostly the opinion of "
        f"{', '.join(f'{name} ({spreads[name]:.1f})' for name in loud)}: on rows of train their "
        f"log-odds have more than {LOUD:g} times the standard deviation of those of {quiet} "
        f"({spreads[quiet]:.1f}). {said}."
    )


def describe_contributions(blocks: Mapping[str, BlockFigures]) -> str:
    """`log-odds moved by backbone:a 1.20 (60 %), …`, the largest first."""
    found = {block: values["contribution"] for block, values in blocks.items()}
    known = {block: value for block, value in found.items() if value is not None}
    if not known:
        return "a mean of ranks, no sum of contributions; each backbone counts the same"
    total = sum(known.values()) or 1.0
    told = sorted(known.items(), key=lambda item: -item[1])
    parts = [f"{k} {v:.2f} ({format_percent(v / total)})" for k, v in told if v / total >= MARGINAL]
    return "log-odds moved by " + (", ".join(parts) or "nothing")


def describe_left_out(backbone: str, values: LeftOutOnVal, cost: Cost, shipped: str) -> str:
    """`without a: AUC -0.0020 [-0.0060, +0.0010] out of fold (no loss shown, …), … on val; …`."""
    parts = [f"AUC {format_change(values)} out of fold ({describe_loss(values)})"]
    if shipped in GATED:
        parts.append(f"{format_change(values, 'simple_auc')} of the best simple combiner")
    parts.append(f"{format_change(values, 'val_auc')} on val")
    text = f"without {backbone}: {', '.join(parts)}"
    costs = []
    if cost.minutes is not None:
        costs.append(f"training it took {cost.minutes:.1f} min")
    if cost.seconds is not None:
        costs.append(f"1,000 images take it {cost.seconds:.1f} s")
    return "; ".join([text, ", ".join(costs) or "what it costs is not known"])


def describe_loss(values: LeftOut) -> str:
    """`missed, interval below 0`: what leaving it out shows, out of fold."""
    side = judge_difference(values)
    return f"{LOSSES[side]}, {INTERVALS[side]}"


def list_spare(without: Mapping[str, LeftOutOnVal]) -> list[str]:
    """Backbones of which no loss is shown when they are left out, one at a time."""
    return [name for name, v in without.items() if judge_difference(v) in ("around", "above")]
