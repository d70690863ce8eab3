"""What scores are worth on labelled rows, be they rows of val or units of them.

Metrics of every scorer with intervals, what ships, and what it gains.

    measure_scorers(ensemble, ensemble.rules, scores, labels, groups)["stack"]["auc"]
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from features.core.auc import compare_aucs, measure_auc
from features.core.manifest import Ids, Manifest, count_classes, find_headline_rows
from features.runtime.progress import track
from stage2_ensemble.columns.columns import Floats, Labels
from stage2_ensemble.decisions.rules import DecisionRules
from stage2_ensemble.decisions.units import MIXED, number_units
from stage2_ensemble.fitted.ensemble import SecondStage
from stage2_ensemble.measures.metrics import measure_scores
from stage2_ensemble.measures.resampling import (
    RESAMPLES,
    Bounds,
    Resamples,
    find_bounds,
    find_paired_bounds,
    index_groups,
    measure_resamples,
)

PAIRED = ("ap", "tpr_at_fpr_1e-2", "accuracy", "balanced_accuracy", "log_loss")
"""Metrics, beside the AUC, whose differences are told."""
BASELINES = ("mean", "best_single")
"""What ships is compared with them."""
_log = logging.getLogger("forgerystack")


@dataclass(frozen=True)
class ScorerFigures:
    """Scores `(n,)`, their metrics as they stand in `metrics.json`, and those of resamples."""

    scores: Floats
    metrics: dict[str, Any]
    resamples: Resamples


def measure_with_intervals(
    labels: Labels, scores: Floats, groups: Ids, threshold: float, resamples: int = RESAMPLES
) -> ScorerFigures:
    """The metrics of `(n,)` rows of both classes, each with its interval, and how many groups.

    The AUC's is DeLong's, by group; all others come from the same draws of groups, whatever the
    scores.
    """
    metrics: dict[str, Any] = measure_scores(labels, scores, groups, threshold)
    numbered = index_groups(labels, groups)
    drawn = measure_resamples(labels, scores, numbered, threshold, resamples)
    for name in drawn.values:
        if name == "auc":
            continue
        bounds: Bounds = (None, None)
        if metrics[name] is not None:
            bounds = find_bounds(name, metrics[name], drawn, numbered.least)
        metrics[f"{name}_low"], metrics[f"{name}_high"] = bounds
    return ScorerFigures(scores, metrics | numbered.to_metrics(), drawn)


def compare_figures(
    labels: Labels, groups: Ids, first: ScorerFigures, second: ScorerFigures
) -> dict[str, float | None]:
    """The `first` minus the `second`, on the same `(n,)` rows and draws, with intervals.

    `None` for a metric that these rows cannot have.
    """
    found = compare_aucs(labels, groups, first.scores, second.scores).to_metrics()
    least = index_groups(labels, groups).least
    for name in PAIRED:
        difference: float | None = None
        bounds: Bounds = (None, None)
        if first.metrics[name] is not None:
            difference = first.metrics[name] - second.metrics[name]
            bounds = find_paired_bounds(name, first.resamples, second.resamples, least)
        found[name], (found[f"{name}_low"], found[f"{name}_high"]) = difference, bounds
    return found


def measure_scorers(
    ensemble: SecondStage,
    rules: DecisionRules,
    scores: Mapping[str, Floats],
    labels: Labels,
    groups: Ids,
) -> dict[str, Any]:
    """`members`, each candidate, `stack`, `shipped` and `differences`, as in `metrics.json`.

    `scores`: `(n,)` log-odds of rows of both classes, as `rules` read them; each is measured on
    the rows that it has, NaN standing for those of a detector from outside.
    """
    figures = {}
    for name, score in track(scores.items(), "measure on val", len(scores), unit="scorers"):
        known = ~np.isnan(score)
        if 0 in count_classes(labels[known]):
            continue  # a detector from outside that has scored units of one class alone
        rows = (labels[known], score[known], groups[known])
        figures[name] = measure_with_intervals(*rows, rules.find_threshold(name))
    shipped = figures[ensemble.shipped]
    if dropped := shipped.resamples.dropped:
        _log.info("evaluate: %d of %d resamples lacked a class: left out", dropped, RESAMPLES)
    return {
        "members": {name: figures[name].metrics for name in figures if name not in ensemble.models},
        **{name: figures[name].metrics for name in ensemble.models},
        "stack": shipped.metrics,
        "shipped": ensemble.shipped,
        "differences": {
            name: compare_figures(labels, groups, shipped, figures[name])
            for name in BASELINES[: len(ensemble.backbones)]  # of one backbone both are the same
            if name != ensemble.shipped
        },
    }


def measure_units(
    ensemble: SecondStage, scores: Mapping[str, Floats], val: Manifest
) -> dict[str, Any]:
    """`units` of `metrics.json`: `counts`, and what `measure_scorers` finds on units of val.

    `scores`: as `SecondStage.score_all` gives them. Units are those of the headline rows; without
    rules of units, or without units of one class of both kinds, there are `counts` alone.
    """
    rows = find_headline_rows(val)
    units = number_units(val.units[rows])
    labels = units.find_labels(val.labels[rows])
    kept = labels != MIXED
    reals, fakes = count_classes(labels)
    counts = {"reals": reals, "fakes": fakes, "mixed": int(np.sum(~kept))}
    rules, choice = ensemble.unit_rules, ensemble.unit_pooling
    if rules is None or choice is None or not reals or not fakes:
        return {"counts": counts}
    pooled = {n: choice.chosen.pool(units, found[rows])[kept] for n, found in scores.items()}
    groups = val.groups[rows][units.first][kept]
    read = rules.read_all(pooled)
    measured = measure_scorers(ensemble, rules, read, labels[kept], groups)
    shipped = scores[ensemble.shipped][rows]
    poolings = {
        pooling.name: {
            **measure_auc(labels[kept], pooling.pool(units, shipped)[kept], groups).to_metrics(),
            "out_of_fold": out_of_fold.to_metrics(),
            "used": pooling == choice.chosen,
        }
        for pooling, out_of_fold in choice.judged.items()
    }
    return {"counts": counts, **measured, "poolings": poolings}
