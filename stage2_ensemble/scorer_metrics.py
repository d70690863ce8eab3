"""Metrics of every scorer, what ships, and what it gains: on rows of val, or on units of them."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from features.manifest import Ids, Manifest, count_classes
from features.null_facts import find_headline_rows
from features.progress import track
from stage2_ensemble.columns import Floats, Labels
from stage2_ensemble.ensemble import Ensemble
from stage2_ensemble.figures import compare_figures, measure_figures
from stage2_ensemble.readings import Readings
from stage2_ensemble.resampling import RESAMPLES
from stage2_ensemble.units import MIXED, number_units

BASELINES = ("mean", "best_single")
"""What ships is compared with them."""
_log = logging.getLogger("forgerystack")


def measure_scorers(
    ensemble: Ensemble,
    readings: Readings,
    scores: Mapping[str, Floats],
    labels: Labels,
    groups: Ids,
) -> dict[str, Any]:
    """`members`, each candidate, `stack`, `shipped` and `differences`, as in `metrics.json`.

    `scores`: `(n,)` log-odds of rows of both classes, as `readings` read them.
    """
    figures = {
        name: measure_figures(labels, score, groups, readings.find_threshold(name))
        for name, score in track(scores.items(), "measure on val", len(scores), unit="scorers")
    }
    shipped = figures[ensemble.shipped]
    if dropped := shipped.resamples.dropped:
        _log.info("evaluate: %d of %d resamples lacked a class: left out", dropped, RESAMPLES)
    return {
        "members": {name: figures[name].metrics for name in scores if name not in ensemble.models},
        **{name: figures[name].metrics for name in ensemble.models},
        "stack": shipped.metrics,
        "shipped": ensemble.shipped,
        "differences": {
            name: compare_figures(labels, groups, shipped, figures[name])
            for name in BASELINES
            if name != ensemble.shipped
        },
    }


def measure_units(
    ensemble: Ensemble, scores: Mapping[str, Floats], val: Manifest
) -> dict[str, Any]:
    """`units` of `metrics.json`: `counts`, and what `measure_scorers` finds on units of val.

    `scores`: as `Ensemble.score_all` gives them. Units are those of the headline rows; without
    readings of units, or without units of one class of both kinds, there are `counts` alone.
    """
    rows = find_headline_rows(val)
    units = number_units(val.units[rows])
    labels = units.find_labels(val.labels[rows])
    kept = labels != MIXED
    reals, fakes = count_classes(labels)
    counts = {"reals": reals, "fakes": fakes, "mixed": int(np.sum(~kept))}
    readings = ensemble.unit_readings
    if readings is None or not reals or not fakes:
        return {"counts": counts}
    means = {name: units.average(found[rows])[kept] for name, found in scores.items()}
    groups = val.groups[rows][units.first][kept]
    read = readings.read_all(means)
    return {"counts": counts, **measure_scorers(ensemble, readings, read, labels[kept], groups)}


def describe_mixed(counts: Mapping[str, int]) -> str:
    """How many units were left out, and why; empty if none was."""
    mixed = counts["mixed"]
    return f"{mixed} with rows of both classes left out" if mixed else ""
