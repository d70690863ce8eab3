"""The ensemble on disk, without pickle: LightGBM text, JSON, npy, and a manifest of sha256s.

The sums are checked before anything is parsed: LightGBM 4.7 ends the process on a damaged model.
"""

import json
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np

from features.errors import IntegrityError, MissingArtifactError
from features.files import digest_file, read_json, write_array, write_atomic, write_json
from stage2_ensemble.combiners import COMBINERS
from stage2_ensemble.ensemble import Ensemble
from stage2_ensemble.stacker import Projection, Stacker

MANIFEST = "MANIFEST.json"
ENSEMBLE = "ensemble.json"
ADVICE = "Make it again: dvc repro -f stack"


def write_ensemble(ensemble: Ensemble, folder: Path) -> None:
    """Writes all files, and the manifest last."""
    for fold, stacker in ensemble.stackers.items():
        _write_stacker(stacker, folder / f"fold-{fold}")
    facts: dict[str, Any] = {
        "shipped": ensemble.shipped,
        "backbones": list(ensemble.backbones),
        "folds": list(ensemble.folds),
        "train_manifest": ensemble.train_digest,
        "members": {str(fold): list(digests) for fold, digests in ensemble.digests.items()},
        "prior": ensemble.prior,
        "oof_auc": dict(ensemble.oof_auc),
        "thresholds": dict(ensemble.thresholds),
        "threshold_rows": ensemble.threshold_rows,
        "combiners": {name: c.to_json() for name, c in ensemble.combiners.items()},
        "stackers": {
            str(fold): {"names": list(stacker.names), "shift": stacker.shift}
            for fold, stacker in ensemble.stackers.items()
        },
    }
    write_json(folder / ENSEMBLE, facts)
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST)
    sums = {str(path.relative_to(folder)): digest_file(path) for path in files}
    write_json(folder / MANIFEST, {"sha256": sums})


def _write_stacker(stacker: Stacker, folder: Path) -> None:
    with write_atomic(folder / "lightgbm.txt") as temporary:
        stacker.booster.save_model(temporary)
    for backbone, projection in stacker.projections.items():
        # The mean is row 0, the components follow: one array a backbone.
        rows = np.concatenate([projection.mean[None], projection.components])
        write_array(folder / f"pca-{backbone}.npy", rows)


def read_ensemble(folder: Path) -> Ensemble:
    """Checks every file's sha256, then reads.

    Raises `MissingArtifactError`, `IntegrityError`.
    """
    sums = _check_files(folder)
    facts = json.loads((folder / ENSEMBLE).read_text(encoding="utf-8"))
    parts = ("lightgbm.txt", *(f"pca-{backbone}.npy" for backbone in facts["backbones"]))
    wanted = {f"fold-{fold}/{part}" for fold in facts["folds"] for part in parts}
    if lacking := wanted - set(sums):
        raise IntegrityError(folder / MANIFEST, f"it does not list {sorted(lacking)}", ADVICE)
    combiners = {name: COMBINERS[name].from_json(c) for name, c in facts["combiners"].items()}
    backbones = tuple(facts["backbones"])
    stackers = {
        fold: _read_stacker(folder / f"fold-{fold}", fold, backbones, facts["stackers"][str(fold)])
        for fold in facts["folds"]
    }
    return Ensemble(
        backbones=backbones,
        folds=tuple(facts["folds"]),
        train_digest=facts["train_manifest"],
        digests={int(fold): tuple(digests) for fold, digests in facts["members"].items()},
        prior=facts["prior"],
        shipped=facts["shipped"],
        combiners=combiners,
        stackers=stackers,
        oof_auc=facts["oof_auc"],
        thresholds=facts["thresholds"],
        threshold_rows=facts["threshold_rows"],
    )


def _check_files(folder: Path) -> dict[str, str]:
    manifest = read_json(folder / MANIFEST, "stack")
    sums = manifest.get("sha256") if isinstance(manifest, dict) else None
    if not isinstance(sums, dict) or ENSEMBLE not in sums:
        raise IntegrityError(folder / MANIFEST, "it does not list the ensemble", ADVICE)
    for name, digest in sums.items():
        path = folder / name
        if not path.is_file():
            raise MissingArtifactError(path, "stack")
        if digest_file(path) != digest:
            raise IntegrityError(path, f"its sha256 is not the one in {MANIFEST}", ADVICE)
    return sums


def _read_stacker(
    folder: Path, fold: int, backbones: tuple[str, ...], facts: dict[str, Any]
) -> Stacker:
    projections = {}
    for backbone in backbones:
        rows = np.load(folder / f"pca-{backbone}.npy", allow_pickle=False)
        projections[backbone] = Projection(rows[0], rows[1:])
    booster = lightgbm.Booster(model_file=folder / "lightgbm.txt")
    return Stacker(fold, tuple(facts["names"]), projections, booster, facts["shift"])
