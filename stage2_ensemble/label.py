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
from features.forensic_table import read_forensics
from features.manifest import READABLE, Manifest, read_manifest
from features.params import load_params
from features.stack_params import MembersParams
from stage2_ensemble.bundle import read_ensemble
from stage2_ensemble.columns import Floats, HeldOutColumns, read_held_out
from stage2_ensemble.ensemble import Ensemble, check_members

MANIFEST = Path("artifacts/manifest")
DUMPS = Path("artifacts/dumps")
FORENSICS = Path("artifacts/forensics")
STACKERS = Path("artifacts/stackers")
OUT = Path("artifacts")
DIGITS = "%.17g"
_log = logging.getLogger("forgerystack")


def label_rows(ensemble: Ensemble, columns: list[HeldOutColumns], test: Manifest) -> pd.DataFrame:
    """One row per test row: `img_name, score, label, log_odds, status`.

    `score` is the probability of being fake at the class shares of train. An image that cannot be
    read gets train's share of fakes as its score and its problem as `status`.
    """
    log_odds: Floats = np.full(len(test), logit(ensemble.prior))
    log_odds[columns[0].row_ids] = ensemble.score(ensemble.shipped, columns)
    return pd.DataFrame(
        {
            "img_name": test.table["img_name"].to_numpy(),
            "score": expit(log_odds),
            "label": (log_odds >= ensemble.thresholds[ensemble.shipped]).astype(np.int8),
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
    columns = read_held_out(DUMPS, test, *members, read_forensics(FORENSICS, test))
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
    fakes = int(labels["label"].sum())
    unread = int((labels["status"] != READABLE).sum())
    _log.info(
        "label: %d rows, %d fake, %d real, %d unreadable -> %s",
        len(labels), fakes, len(labels) - fakes, unread, out / "labels.csv",
    )  # fmt: skip


def main(overrides: Overrides = None) -> None:
    """Write the final labels of the test rows."""
    run(load_params(MembersParams, overrides))


if __name__ == "__main__":
    run_stage("stage2_ensemble.label", main)
