"""Final labels: every row of the test list exactly once, in its order.

Reads: artifacts/stackers, artifacts/dumps, artifacts/forensics, artifacts/manifest/test.parquet
Writes: artifacts/labels.csv, artifacts/prediction.txt
Params: backbones, folds.active
"""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from features.cli import Overrides, run_stage
from features.files import write_text
from features.manifest import READABLE, Manifest, read_manifest
from features.params import load_params
from features.stack_params import MembersParams
from stage2_ensemble.bundle import read_ensemble
from stage2_ensemble.columns import Floats, HeldOutColumns, read_held_out
from stage2_ensemble.conformal import FAKE, REAL, REVIEW
from stage2_ensemble.ensemble import Ensemble, check_members
from stage2_ensemble.extras import read_extras

MANIFEST = Path("artifacts/manifest")
DUMPS = Path("artifacts/dumps")
FORENSICS = Path("artifacts/forensics")
STACKERS = Path("artifacts/stackers")
OUT = Path("artifacts")
DIGITS = "%.17g"
_log = logging.getLogger("forgerystack")


def label_rows(ensemble: Ensemble, columns: list[HeldOutColumns], test: Manifest) -> pd.DataFrame:
    """One row per test row: `img_name, score, label, log_odds, status`.

    `score` is the probability of being fake at the class shares that `label.prior` says, `label` is
    `real`, `fake`, or, with `decision.review`, `review`. An image that cannot be read gets the
    share of fakes as its score and its problem as `status`; with `decision.review` it is left to
    review.
    """
    readings, shipped = ensemble.readings, ensemble.shipped
    row_ids = columns[0].row_ids
    raw = ensemble.score(shipped, columns)
    log_odds: Floats = np.full(len(test), logit(readings.prior.value))
    log_odds[row_ids] = readings.read(shipped, raw)
    labels = np.where(log_odds >= readings.find_threshold(shipped), FAKE, REAL).astype(object)
    if readings.band:
        labels[:] = REVIEW
        calibrated = readings.scorers[shipped].calibration.apply(raw)
        labels[row_ids] = readings.band.decide(calibrated)
    return pd.DataFrame(
        {
            "img_name": test.table["img_name"].to_numpy(),
            "score": expit(log_odds),
            "label": labels,
            "log_odds": log_odds,
            "status": test.table["status"].to_numpy(),
        }
    )


def run(params: MembersParams, out: Path = OUT) -> None:
    """Reads the bundle and the test dumps, writes labels and the submission file."""
    ensemble = read_ensemble(STACKERS)
    check_members(ensemble, list(params.backbones), params.folds.active)
    test = read_manifest(MANIFEST, "test")
    members = (ensemble.backbones, ensemble.folds, ensemble.train_digest)
    extras = read_extras(FORENSICS, test, ensemble.file_codes)
    columns = read_held_out(DUMPS, test, *members, extras)
    labels = label_rows(ensemble, columns, test)
    submission = labels[["img_name", "score"]].rename(columns={"score": "y_pred"})
    write_text(out / "labels.csv", labels.to_csv(index=False, float_format=DIGITS))
    write_text(out / "prediction.txt", submission.to_csv(index=False, float_format=DIGITS))
    _log_labels(labels, out)


def _log_labels(labels: pd.DataFrame, out: Path) -> None:
    if labels.empty:
        _log.info(
            "label: no test list (data.test), so %s holds its header only", out / "labels.csv"
        )
        return
    counts = labels["label"].value_counts()
    found = ", ".join(f"{counts[name]} {name}" for name in (FAKE, REAL, REVIEW) if name in counts)
    unread = int((labels["status"] != READABLE).sum())
    _log.info(
        "label: %d rows, %s; %d unreadable -> %s", len(labels), found, unread, out / "labels.csv"
    )


def main(overrides: Overrides = None) -> None:
    """Write the final labels of the test rows."""
    run(load_params(MembersParams, overrides))


if __name__ == "__main__":
    run_stage("stage2_ensemble.label", main)
