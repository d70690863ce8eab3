"""What detectors from outside are worth on train and on val, and whether the two differ.

Nobody can check what such a detector learned from. One that has learned from rows of train does
better there than on val, and whatever is chosen on rows of train trusts it too much.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from features.artifacts.outside import DetectorScores
from features.core.auc import AucEstimate, compare_aucs, measure_auc
from features.core.manifest import Manifest, find_headline_rows
from stage2_ensemble.columns.columns import Floats
from stage2_ensemble.results.form import OutsideFigures
from stage2_ensemble.results.scores import Auc


def measure_outside(
    facts: Mapping[str, Any],
    on_train: DetectorScores,
    on_val: DetectorScores,
    train: Manifest,
    val: Manifest,
    folds: Sequence[int],
) -> OutsideFigures:
    """One entry of `outside_figures` in `metrics.json`; `facts`: of `read_summary`.

    AUCs on the rows that it has scored: of train those of `folds`, which the second stage learns
    from, of val the headline rows.
    """
    rows = {"train": np.isin(train.folds, folds), "val": find_headline_rows(val)}
    known = {
        "train": rows["train"] & ~np.isnan(on_train.logits),
        "val": rows["val"] & ~np.isnan(on_val.logits),
    }
    labels, groups, scores = (
        np.concatenate([first[known["train"]], second[known["val"]]])
        for first, second in (
            (train.labels, val.labels),
            (train.groups, val.groups),
            (on_train.logits, on_val.logits),
        )
    )
    is_train = np.arange(len(labels)) < known["train"].sum()
    found = {
        name: _describe_auc(measure_auc(labels[own], scores[own], groups[own]))
        for name, own in (("train", is_train), ("val", ~is_train))
    }
    difference = compare_aucs(labels, groups, scores, scores, is_train, ~is_train)
    return {
        "learned_from": facts["learned_from"],
        "kind": facts["kind"],
        "rows": facts["rows"],
        "scored": facts["scored"],
        "clipped": facts["clipped"],
        "train": found["train"],
        "val": found["val"],
        "difference": _describe_auc(difference),
    }


def _describe_auc(found: AucEstimate) -> Auc:
    return {"auc": found.auc, "auc_low": found.low, "auc_high": found.high}


def drop_repeated(
    scores: Mapping[str, Floats], outside: Sequence[str], folds: Sequence[int]
) -> dict[str, Floats]:
    """`scores` without those of detectors from outside in further folds: they are the same."""
    again = {f"{name}-{fold}" for name in outside for fold in folds[1:]}
    return {name: values for name, values in scores.items() if name not in again}
