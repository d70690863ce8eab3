"""Whether rules hold on val: calibration, the share of fakes, the threshold, promises."""

from collections.abc import Mapping

from features.core.number_text import format_figure
from stage2_ensemble.findings.promises import BY_CHANCE, KEPT
from stage2_ensemble.results.form import Promise, ValMetrics
from stage2_ensemble.sentences.intervals import format_interval
from stage2_ensemble.sentences.scorers import describe_rates


def describe_promised(entry: Promise) -> str:
    """`at most 0.05`; of a calibration error, how much chance alone makes."""
    if "by_chance" in entry:
        return f"by chance up to {format_figure(entry['by_chance'])}"
    if entry["sense"]:
        return f"{entry['sense']} {entry['promised']:g}"
    return format_interval(entry, "promised")


def describe_promise(entry: Promise) -> str:
    """All of it in a line."""
    promised, realised = describe_promised(entry), format_interval(entry, "realised")
    return f"{entry['title']}: promised {promised}, realised {realised}: {entry['verdict']}"


def describe_broken(promises: Mapping[str, Promise]) -> str:
    """What was not kept, chance aside; empty where all was."""
    broken = [p["title"] for p in promises.values() if p["verdict"] not in (KEPT, BY_CHANCE)]
    return f"Promised on rows of train and not kept on val: {', '.join(broken)}." if broken else ""


def list_rules(metrics: ValMetrics) -> list[str]:
    """Calibration, share of fakes, threshold and what labels follow in its place, a line each."""
    calibration, threshold = metrics["calibration"], metrics["threshold"]
    prior = metrics["prior"]
    before, after = (
        format_interval(found, "ece")
        for found in (calibration["val_before"], calibration["val_after"])
    )
    assumed, estimate = prior["assumed"], prior["estimated_on_val"]
    if estimate["source"] == "estimate":
        estimated = f"estimated from their scores alone {format_interval(estimate, 'em')}"
    else:
        estimated = f"no estimate from their scores alone: {estimate['reason']}"
    place = format_figure(threshold["value"], threshold["low"], threshold["high"])
    note = f"; {threshold['note']}" if threshold["note"] else ""
    if threshold["tiers"]:
        note = f" in the worst of clean, {', '.join(threshold['tiers'])}{note}"
    review = metrics["answers"].get("review")
    band = []
    if review:
        low, high = (format_figure(review[end]) for end in ("low", "high"))
        band = [
            f"review: labels follow the band, not the threshold; log-odds from {low} to {high} are "
            f"left to review. {describe_rates(metrics['answers'])}"
        ]
    return [
        f"calibration: {calibration['name']}, chosen on {calibration['chosen_on']} rows "
        f"({calibration['reason']}); ECE {before} before, {after} after",
        f"share of fakes: {format_figure(prior['val'])} in val, "
        f"probabilities assume {format_figure(assumed['value'])} "
        f"({assumed['reason']}); {estimated}",
        f"threshold: log-odds {place} by {threshold['policy']}{note}",
        *band,
    ]
