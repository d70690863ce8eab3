"""Fits the second stage on rows that no member learned from, and chooses what ships.

Reads: artifacts/manifest/train.parquet, artifacts/dumps, artifacts/forensics
Writes: artifacts/stackers
Params: seed, folds.active, backbones, stack, gate, decision
"""

import logging
from pathlib import Path

import numpy as np

from features.cli import Overrides, run_stage
from features.forensic_table import read_forensics
from features.manifest import count_classes, read_manifest
from features.params import load_params
from features.stack_params import StackParams
from stage2_ensemble.bundle import write_ensemble
from stage2_ensemble.choice import fit_ensemble
from stage2_ensemble.columns import build_fold_columns, read_dumps
from stage2_ensemble.ensemble import Ensemble

MANIFEST = Path("artifacts/manifest")
DUMPS = Path("artifacts/dumps")
FORENSICS = Path("artifacts/forensics")
OUT = Path("artifacts/stackers")
_log = logging.getLogger("forgerystack")


def run(params: StackParams, dumps: Path = DUMPS, out: Path = OUT) -> Ensemble:
    """Reads the train manifest and the dumps of params' members, fits, writes the bundle."""
    train = read_manifest(MANIFEST, "train")
    _log_ignored(dumps, params)
    names = list(params.backbones)
    forensics = read_forensics(FORENSICS, train)
    columns = [
        build_fold_columns(read_dumps(dumps, train, names, fold, train.digest), train, forensics)
        for fold in params.folds.active
    ]
    folds, calibration = [pair[0] for pair in columns], [pair[1] for pair in columns]
    reals, fakes = count_classes(train.labels)
    prior = fakes / (reals + fakes)
    ensemble = fit_ensemble(folds, calibration, params, train.digest, prior)
    write_ensemble(ensemble, out)
    _log_choice(ensemble)
    return ensemble


def _log_ignored(dumps: Path, params: StackParams) -> None:
    """Names dumps on disk that params no longer name: they are not used."""
    there = {f"{path.parent.name}-{path.name}" for path in dumps.glob("*/*") if path.is_dir()}
    wanted = {f"{name}-{fold}" for name in params.backbones for fold in params.folds.active}
    if ignored := sorted(there - wanted):
        _log.info("stack: not in params.yaml, ignored: %s", ", ".join(ignored))


def _log_choice(ensemble: Ensemble) -> None:
    for name, by_fold in ensemble.oof_auc.items():
        ships = "  <- ships" if name == ensemble.shipped else ""
        _log.info("stack: out-of-fold AUC %.4f %s%s", np.mean(by_fold), name, ships)
    for verdict in ensemble.verdicts:
        _log.info("gate: AUC against the best simple combiner, %s", verdict.describe())


def main(overrides: Overrides = None) -> None:
    """Fit the stackers and combiners, and choose what ships."""
    run(load_params(StackParams, overrides))


if __name__ == "__main__":
    run_stage("stage2_ensemble.stack", main)
