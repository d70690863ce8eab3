"""What the null model found, on disk: sealed facts, and its log-odds by val row."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from features.core.files import digest_file, read_array, read_sealed, write_array, write_sealed
from features.core.manifest import Manifest
from features.errors import StaleArtifactError

STAGE = "null_model"
FACTS, SCORES = "facts.json", "val.npy"
_FORM = {
    "train_manifest": str,
    "val_manifest": str,
    "told_apart": bool | None,
    "main_feature": str | None,
    "sha256": str,
}


@dataclass(frozen=True)
class NullFindings:
    """Log-odds of fake `(n,)` by val row, at equal class shares, and what is known about them.

    `facts`: `auc` with its bounds, `told_apart`, `main_feature`, `families` and `features` alone,
    `advice`; see `features.null_model`. Without val rows, most of it is empty.
    """

    scores: npt.NDArray[np.float64]
    facts: dict[str, Any]


def write_null_model(null: NullFindings, train: Manifest, val: Manifest, folder: Path) -> None:
    """Writes the scores, and the facts last."""
    write_array(folder / SCORES, null.scores)
    facts = {
        "train_manifest": train.digest,
        "val_manifest": val.digest,
        **null.facts,
        "sha256": digest_file(folder / SCORES),
    }
    write_sealed(folder / FACTS, facts)


def read_null_model(folder: Path, val: Manifest, train_digest: str) -> NullFindings:
    """Reads what `write_null_model` wrote.

    Raises `MissingArtifactError`, `IntegrityError`, or `StaleArtifactError` if it was made from
    another train or val manifest.
    """
    path = folder / FACTS
    facts = read_sealed(path, STAGE, _FORM)
    for role, digest in (("train", train_digest), ("val", val.digest)):
        found = facts[f"{role}_manifest"]
        if found != digest:
            raise StaleArtifactError(path, f"{role} manifest {found[:8]}", digest[:8], STAGE)
    scores = folder / SCORES
    return NullFindings(read_array(scores, facts["sha256"], STAGE, FACTS), facts)
