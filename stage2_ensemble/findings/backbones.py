"""Each backbone as a whole: how far its log-odds spread, and what the mean over its folds is worth.

judge_backbones(ensemble, columns, val)["resnet"]["all_folds"]["auc"]
"""

from collections.abc import Collection, Sequence
from typing import cast

import numpy as np

from features.core.auc import measure_auc
from features.core.manifest import Manifest, find_headline_rows
from stage2_ensemble.columns.columns import MemberColumns
from stage2_ensemble.fitted.ensemble import SecondStage
from stage2_ensemble.models.candidates import Pooled
from stage2_ensemble.models.combiners import Logistic
from stage2_ensemble.results.form import BackboneFigures
from stage2_ensemble.results.scores import Auc


def judge_backbones(
    ensemble: SecondStage,
    columns: Sequence[MemberColumns],
    val: Manifest,
    outside: Collection[str] = (),
) -> dict[str, BackboneFigures]:
    """`backbone_figures` of `metrics.json`; `columns`: one per active fold, on all of `val`.

    AUCs are of the headline rows. There are none with one active fold, nor of detectors from
    `outside`, whose scores are the same in each.
    """
    rows = np.flatnonzero(find_headline_rows(val))
    labels, groups = val.labels[rows], val.groups[rows]
    averaged = np.mean([c.logits[rows] for c in columns], axis=0)
    found: dict[str, BackboneFigures] = {}
    for name, scores, spread in zip(
        ensemble.backbones, averaged.T, measure_spreads(ensemble), strict=True
    ):
        found[name] = {"spread": spread}
        if len(columns) > 1 and name not in outside:
            found[name]["all_folds"] = cast(Auc, measure_auc(labels, scores, groups).to_metrics())
    return found


def measure_spreads(ensemble: SecondStage) -> list[float]:
    """Of each backbone the standard deviation of its log-odds on the fold rows of train; 1 where
    they are all the same.
    """
    logistic = ensemble.models[Logistic.name]
    assert isinstance(logistic, Pooled)
    assert isinstance(logistic.combiner, Logistic)
    return list(map(float, logistic.combiner.standards_.scales))
