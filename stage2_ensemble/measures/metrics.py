"""Metrics on float64 log-odds.

measure_scores(labels, scores, groups, threshold)["tpr_at_fpr_1e-2"]
"""

import numpy as np

from features.core.auc import measure_auc
from features.core.manifest import Ids, count_classes
from stage2_ensemble.columns.columns import Floats, Labels
from stage2_ensemble.measures.reliability import find_bins, measure_ece

FPR_GRID = np.concatenate([[0.0], np.geomspace(1e-4, 1.0, 201)])
RECALL_GRID = np.arange(1, 101) / 100  # divided as recalls are, so that equal shares are equal
RATES = {"tpr_at_fpr_1e-2": 1e-2, "tpr_at_fpr_1e-3": 1e-3}


def measure_scores(
    labels: Labels, scores: Floats, groups: Ids, threshold: float
) -> dict[str, float | None]:
    """The metrics of `(n,)` log-odds; a row is labelled fake at or above `threshold`.

    Rows of a group may depend on each other: the AUC's bounds count groups.
    """
    from sklearn.metrics import (  # late: labelling does without
        accuracy_score,
        average_precision_score,
        balanced_accuracy_score,
    )

    answers = scores >= threshold
    return {
        **measure_auc(labels, scores, groups).to_metrics(),
        "ap": float(average_precision_score(labels, scores)),
        "accuracy": float(accuracy_score(labels, answers)),
        "balanced_accuracy": float(balanced_accuracy_score(labels, answers)),
        **measure_rates(labels, scores),
        "log_loss": measure_log_loss(labels, scores),
        "ece": measure_ece(labels, scores, find_bins(scores)),
    }


def measure_rates(labels: Labels, scores: Floats) -> dict[str, float | None]:
    """TPR at each of `RATES`, and `false_positives_…`: the reals at or above its threshold."""
    found: dict[str, float | None] = {}
    for name, rate in RATES.items():
        point = _find_point(labels, scores, rate)
        found[name], found[name_false_positives(name)] = point or (None, None)
    return found


def name_false_positives(name: str) -> str:
    """`false_positives_1e-2` for `tpr_at_fpr_1e-2`."""
    return name.replace("tpr_at_fpr", "false_positives")


def measure_tpr(labels: Labels, scores: Floats, rate: float) -> float | None:
    """Highest share of fakes found while at most `rate` of the reals are at or above the threshold.

    Ties count all in or all out. `None` where `rate` times the number of reals is below 1.
    """
    point = _find_point(labels, scores, rate)
    return None if point is None else point[0]


def _find_point(labels: Labels, scores: Floats, rate: float) -> tuple[float, int] | None:
    """TPR as in `measure_tpr`, and how many reals are at or above the highest threshold with it."""
    reals, _ = count_classes(labels)
    if rate * reals < 1:
        return None
    fpr, tpr = _trace_roc(labels, scores)
    best = int(np.argmax(tpr[fpr <= rate]))
    return float(tpr[best]), round(float(fpr[best]) * reals)


def measure_losses(labels: Labels, scores: Floats) -> Floats:
    """`(n,)` -log p(label), from log-odds, so that scores near 0 and 1 keep their value."""
    signs = np.where(labels == 1, 1.0, -1.0)
    return np.asarray(np.logaddexp(0.0, -signs * scores))


def measure_log_loss(labels: Labels, scores: Floats) -> float:
    """Mean of `measure_losses`."""
    return float(measure_losses(labels, scores).mean())


def trace_curves(labels: Labels, scores: Floats) -> tuple[Floats, Floats]:
    """TPR on `FPR_GRID` and precision on `RECALL_GRID`: each the highest that can be had there."""
    fpr, tpr = _trace_roc(labels, scores)
    reals, fakes = count_classes(labels)
    highest_tpr = tpr[np.searchsorted(fpr, FPR_GRID, side="right") - 1]
    precision = tpr[1:] * fakes / (tpr[1:] * fakes + fpr[1:] * reals)
    best_from = np.maximum.accumulate(precision[::-1])[::-1]
    return highest_tpr, best_from[np.searchsorted(tpr[1:], RECALL_GRID)]


def _trace_roc(labels: Labels, scores: Floats) -> tuple[Floats, Floats]:
    """FPR and TPR at every score, from the highest on."""
    from sklearn.metrics import roc_curve

    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    return fpr, tpr
