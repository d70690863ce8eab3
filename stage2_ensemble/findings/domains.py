"""AUCs by generator and by domain: which rows stand against which, and the gap to unseen ones.

A generator usually has rows of one class only. Such rows are scored against the seen val rows of
the other class; rows of both classes are scored among themselves. Each AUC names both sides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from features.core.auc import compare_aucs, measure_auc
from features.core.manifest import HELD_OUT, SEEN, UNSEEN, Manifest, count_classes
from features.core.manifest_columns import take_columns
from stage2_ensemble.columns.columns import Floats, Mask
from stage2_ensemble.measures.resampling import index_groups

ADJECTIVES = {SEEN: "seen", UNSEEN: "unseen", HELD_OUT: "held-out"}
CLASSES = ("real", "fake")


@dataclass(frozen=True)
class ComparedRows:
    """Val rows `(n,)` that one AUC is measured on."""

    rows: Mask
    reals: int
    fakes: int
    against: str
    """Both sides in words, such as `380 fakes of warp against 480 seen reals`."""


def compare_rows(rows: Mask, val: Manifest, before: str = "", after: str = "") -> ComparedRows:
    """`rows`, and if they hold one class only the seen val rows of the other.

    `before` and `after` stand around the class in the words for `rows`.
    """
    seen = find_rows(val, SEEN)
    sides, words = [], []
    for label in (1, 0):
        of_class = val.labels == label
        is_own = bool((rows & of_class).any())
        side = (rows if is_own else seen) & of_class
        noun = CLASSES[label] if side.sum() == 1 else f"{CLASSES[label]}s"
        words.append(f"{side.sum()} " + (before + noun + after if is_own else f"seen {noun}"))
        sides.append((is_own, side))
    if not sides[0][0]:
        words.reverse()  # the rows themselves come first
    both = sides[0][1] | sides[1][1]
    return ComparedRows(both, *count_classes(val.labels[both]), " against ".join(words))


def measure_comparison(
    comparison: ComparedRows, scores: Floats, null_scores: Floats, val: Manifest
) -> dict[str, Any]:
    """AUC with bounds of what ships, how many groups, and the null model's on the same rows."""
    rows = comparison.rows
    labels, groups = val.labels[rows], val.groups[rows]
    return {
        **measure_auc(labels, scores[rows], groups).to_metrics(),
        **index_groups(labels, groups).to_metrics(),
        "null_auc": measure_auc(labels, null_scores[rows], groups).auc,
        "reals": comparison.reals,
        "fakes": comparison.fakes,
        "against": comparison.against,
    }


def measure_generators(scores: Floats, null_scores: Floats, val: Manifest) -> dict[str, Any]:
    """By generator; one whose rows lie in several domains has an entry for each of them.

    These are called `<generator> (<domain>)`.
    """
    table = take_columns(val, ("generator", "domain"))
    named = table[table["generator"] != ""].drop_duplicates()
    result = {}
    for generator, domain in sorted(named.itertuples(index=False, name=None)):
        own = np.asarray(table["generator"] == generator, bool) & find_rows(val, domain)
        is_split = (named["generator"] == generator).sum() > 1
        name = f"{generator} ({ADJECTIVES[domain]})" if is_split else str(generator)
        comparison = compare_rows(own, val, after=f" of {name}")
        values = measure_comparison(comparison, scores, null_scores, val)
        result[name] = {**values, "domain": domain}
    return result


def measure_domains(scores: Floats, null_scores: Floats, val: Manifest) -> dict[str, Any]:
    """By domain that val has, and `gap`: AUC on the seen rows minus that on all others."""
    comparisons = {
        domain: compare_rows(rows, val, before=f"{adjective} ")
        for domain, adjective in ADJECTIVES.items()
        if (rows := find_rows(val, domain)).any()
    }
    result = {
        domain: measure_comparison(comparison, scores, null_scores, val)
        for domain, comparison in comparisons.items()
    }
    if gap := measure_gap(comparisons, scores, val):
        result["gap"] = gap
    return result


def measure_gap(
    comparisons: Mapping[str, ComparedRows], scores: Floats, val: Manifest
) -> dict[str, Any] | None:
    """How much worse rows do that are not seen; all of these are taken together.

    Both AUCs may stand on the same reals: `compare_aucs` knows. `None` where one cannot be
    measured.
    """
    others = [comparison for domain, comparison in comparisons.items() if domain != SEEN]
    if SEEN not in comparisons or not others:
        return None
    seen = comparisons[SEEN]
    rows = np.logical_or.reduce([comparison.rows for comparison in others])
    found = compare_aucs(val.labels, val.groups, scores, scores, seen.rows, rows)
    if found.auc is None:
        return None
    against = " and ".join(comparison.against for comparison in others)
    return {**found.to_metrics(), "against": f"{seen.against}, minus {against}"}


def find_rows(val: Manifest, domain: str) -> Mask:
    """`(n,)` rows of one domain."""
    return np.asarray(val.read("domain") == domain, bool)
