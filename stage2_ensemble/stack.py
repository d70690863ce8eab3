"""Fits the second stage on rows that no member learned from, and chooses what ships.

Reads: artifacts/manifest/train.parquet, artifacts/manifest/test.parquet, artifacts/dumps,
    artifacts/forensics
Writes: artifacts/stackers/MANIFEST.json, artifacts/stackers/ensemble.json,
    artifacts/stackers/models
Params: seed, folds.active, backbones, stack, gate, decision, label
"""

import logging
from pathlib import Path

import numpy as np

from features.cli import Overrides, run_stage
from features.intervals import AucEstimate
from features.manifest import count_classes, read_manifest
from features.params import load_params
from features.stack_params import Gate, StackParams
from stage2_ensemble.bundle import write_ensemble
from stage2_ensemble.choice import Targets, fit_ensemble
from stage2_ensemble.columns import read_held_out, read_train_columns
from stage2_ensemble.ensemble import Ensemble
from stage2_ensemble.extras import FileCodes, learn_file_codes, read_extras
from stage2_ensemble.readings import Readings
from stage2_ensemble.units import TrainUnits, describe_train

MANIFEST = Path("artifacts/manifest")
DUMPS = Path("artifacts/dumps")
FORENSICS = Path("artifacts/forensics")
OUT = Path("artifacts/stackers")
_log = logging.getLogger("forgerystack")


def run(params: StackParams, dumps: Path = DUMPS, out: Path = OUT) -> Ensemble:
    """Reads the train manifest and the dumps of params' members, fits, writes the bundle."""
    train = read_manifest(MANIFEST, "train")
    _log_ignored(dumps, params)
    codes = learn_file_codes(train) if params.stack.use_file_facts else None
    extras = read_extras(FORENSICS, train, codes)
    members = (list(params.backbones), params.folds.active)
    columns = read_train_columns(dumps, train, *members, extras)
    folds, calibration = [pair[0] for pair in columns], [pair[1] for pair in columns]
    reals, fakes = count_classes(train.labels)
    share = fakes / (reals + fakes)
    targets = _read_targets(params, dumps, train.digest, codes)
    units = describe_train(train)
    ensemble = fit_ensemble(folds, calibration, params, train.digest, share, targets, codes, units)
    write_ensemble(ensemble, out)
    _log_choice(ensemble, params.gate)
    _log_readings(ensemble.readings, ensemble)
    if train.has_units:
        _log_units(ensemble, units)
    return ensemble


def _read_targets(
    params: StackParams, dumps: Path, train_digest: str, codes: FileCodes | None
) -> Targets | None:
    """The test rows, where their share of fakes is to be estimated and there are any."""
    if params.label.prior != "estimate":
        return None
    test = read_manifest(MANIFEST, "test")
    if not len(test):
        return None
    members = (list(params.backbones), params.folds.active, train_digest)
    columns = read_held_out(dumps, test, *members, read_extras(FORENSICS, test, codes))
    row_ids = columns[0].row_ids
    return Targets(columns, test.groups[row_ids], test.units[row_ids])


def _log_ignored(dumps: Path, params: StackParams) -> None:
    """Names dumps on disk that params no longer name: they are not used."""
    there = {f"{path.parent.name}-{path.name}" for path in dumps.glob("*/*") if path.is_dir()}
    wanted = {f"{name}-{fold}" for name in params.backbones for fold in params.folds.active}
    if ignored := sorted(there - wanted):
        _log.info("stack: not in params.yaml, ignored: %s", ", ".join(ignored))


def _log_choice(ensemble: Ensemble, gate: Gate) -> None:
    for name, by_fold in ensemble.oof_auc.items():
        ships = "  <- ships" if name == ensemble.shipped else ""
        _log.info("stack: out-of-fold AUC %.4f %s%s", np.mean(by_fold), name, ships)
    if gate.rows == "untuned":
        _log.info("gate: decided by the half of the fold rows that chose no settings")
    for verdict in ensemble.verdicts:
        _log.info("gate: AUC against the best simple combiner, %s", verdict.describe())


def _log_units(ensemble: Ensemble, units: TrainUnits | None) -> None:
    if units is None or ensemble.unit_readings is None:
        _log.info("stack: no readings of units: too few of them have rows of one class only")
        return
    note = f", without {units.mixed} of both classes" if units.mixed else ""
    _log.info("stack: by unit, the mean of its rows' log-odds%s:", note)
    _log_readings(ensemble.unit_readings, ensemble)


def _log_readings(readings: Readings, ensemble: Ensemble) -> None:
    reading = readings.scorers[ensemble.shipped]
    calibration, threshold = reading.calibration, reading.threshold
    _log.info(
        "stack: calibration on %s rows: %s (%s); ECE there %.4f before, %.4f after",
        ensemble.reading_rows, calibration.calibrator.name, calibration.reason,
        calibration.ece_before, calibration.ece_after,
    )  # fmt: skip
    _log.info("stack: share of fakes %.4f: %s", readings.prior.value, readings.prior.reason)
    place = AucEstimate(threshold.value, threshold.low, threshold.high).describe(digits=4)
    note = f"; {threshold.note}" if threshold.note else ""
    _log.info("stack: threshold %s by %s%s", place, threshold.policy, note)
    if readings.band:
        _log.info(
            "stack: review promises that %g of each class are called wrong at most",
            readings.band.alpha,
        )


def main(overrides: Overrides = None) -> None:
    """Fit the stackers and combiners, and choose what ships."""
    run(load_params(StackParams, overrides))


if __name__ == "__main__":
    run_stage("stage2_ensemble.stack", main)
