"""What there is to say of a run without val (`data.final`): out-of-fold figures, the earlier run.

Such a run has learned from val too, so none of its figures is a held-out one. Those of the last run
with a val are quoted: of the same settings, but of members that learned from fewer rows.
"""

from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from features.core.files import read_sealed
from stage2_ensemble.explanations.shapes import SHAPES
from stage2_ensemble.findings.robustness import COLUMNS
from stage2_ensemble.findings.tables import CALLED_FAKE, CONFUSION, HISTOGRAM, PARTS, SCORERS
from stage2_ensemble.fitted.ensemble import SecondStage
from stage2_ensemble.models.candidates import CANDIDATES, GATED
from stage2_ensemble.results.form import (
    CalibrationChoice,
    EarlierRun,
    FinalMetrics,
    LeftOut,
    PriorEstimate,
    ThresholdChoice,
    has_val,
)
from stage2_ensemble.results.metrics_file import check_metrics

NO_VAL = "no held-out val: data.final is true"
NO_EARLIER = "no earlier run is known"
KEPT_ADVICE = "Remove it, and no earlier run is quoted; or run once more with data.final: false"
BOUNDS = ("auc", "auc_low", "auc_high")
MEASURED_ON_VAL = {
    "roc": ("fpr", *CANDIDATES, "stack"),
    "pr": ("recall", *CANDIDATES, "stack"),
    "reliability_before": ("mass", "predicted", "observed"),
    "reliability_after": ("mass", "predicted", "observed"),
    "shap_blocks": ("block", *CANDIDATES, "stack"),
    "shap_columns": ("column", *CANDIDATES),
    "gain": ("column", *GATED),
    "shapes": SHAPES,
    "score_histogram": HISTOGRAM,
    "confusion": CONFUSION,
    "scorers": SCORERS,
    "parts": PARTS,
    "called_fake": CALLED_FAKE,
    "robustness": COLUMNS,
}
"""Tables behind plots, which are empty here, and their columns."""


def describe_last(ensemble: SecondStage, earlier: EarlierRun | None) -> FinalMetrics:
    """`metrics.json` of a run without val; `earlier` as `quote_earlier` gives it."""
    rule = ensemble.rules.scorers[ensemble.shipped]
    calibration = rule.calibration.to_json()
    kept = ("name", "reason", "ece_before", "ece_after")
    return {
        "val": None,
        "note": NO_VAL,
        "rows": {"val": {"reals": 0, "fakes": 0}},
        "shipped": ensemble.shipped,
        "out_of_fold": {
            "auc": {name: float(np.mean(found)) for name, found in ensemble.oof_auc.items()},
            "read_on": ensemble.rule_rows,
            "calibration": cast(CalibrationChoice, {name: calibration[name] for name in kept}),
            "threshold": cast(ThresholdChoice, rule.threshold.to_json()),
            "prior": cast(PriorEstimate, ensemble.rules.prior.to_json()),
            "without": {
                backbone: LeftOut(
                    name=less.name,
                    auc=less.shipped.auc,
                    auc_low=less.shipped.low,
                    auc_high=less.shipped.high,
                )
                for backbone, less in ensemble.without.items()
            },
        },
        "earlier": NO_EARLIER if earlier is None else earlier,
    }


def quote_earlier(path: Path) -> EarlierRun | None:
    """Headline figures of the last run that had a val; `None` if there was none."""
    if not path.is_file():
        return None
    values = read_sealed(path, "evaluate", advice=KEPT_ADVICE)
    if values["val"] is None:
        return None
    metrics = check_metrics(values, path)
    assert has_val(metrics)
    stack = metrics["val"]["stack"]
    return EarlierRun(
        shipped=metrics["val"]["shipped"],
        auc=stack["auc"],
        auc_low=stack["auc_low"],
        auc_high=stack["auc_high"],
        rows=metrics["rows"]["val"],
    )


def tabulate_last(metrics: FinalMetrics) -> dict[str, pd.DataFrame]:
    """Tables behind plots, by the name of their file: but for `without` their headers alone."""
    tables = {name: pd.DataFrame(columns=columns) for name, columns in MEASURED_ON_VAL.items()}
    left_out = metrics["out_of_fold"]["without"].items()
    rows = [{"backbone": backbone, **less} for backbone, less in left_out]
    names = ["backbone", "name", *(f"{p}{end}" for p in ("", "simple_", "val_") for end in BOUNDS)]
    return tables | {"without": pd.DataFrame(rows, columns=names)}
