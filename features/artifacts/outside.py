"""Scores from outside: what a detector that was trained elsewhere says of all rows of a role.

`<folder>/<role>.json` names the role's manifest, what is declared of the detector, and the sha256
of two arrays beside it: `<role>.logits.npy` float64 `(n,)` log-odds of fake by `row_id`, NaN where
there is no score, and `<role>.embeddings.npy` float16 `(n, d)`, rows of NaN where there is none;
d is 0 for a detector without embeddings.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from features.artifacts.dumps import Dump
from features.core.files import digest_file, read_array, read_sealed, write_array, write_sealed
from features.core.manifest import Manifest, Role
from features.core.members import Correction, MemberId
from features.errors import AlignmentError, StaleArtifactError

FOLDER = Path("artifacts/outside")
STAGE = "outside"
SUMMARY = "outside.json"
ARRAYS = ("logits", "embeddings")
_FORM = {
    "detector": str,
    "role": str,
    "manifest": str,
    "member": str,
    "learned_from": str,
    "clipped": int,
    "sha256": dict,
}


@dataclass(frozen=True)
class DetectorScores:
    """What one detector says of all rows of one role; it is the same for every fold."""

    name: str
    role: Role
    logits: npt.NDArray[np.float64]
    """`(n,)`; NaN where there is no score."""
    embeddings: npt.NDArray[np.float16]
    """`(n, d)`, d 0 where it has none; rows of NaN are missing."""
    digest: str
    """sha256 of what it says of train: which detector it is."""
    learned_from: str
    """`none` of the rows of train, or `unknown`: declared, not checked."""
    clipped: int
    """Scores that were kept within bounds."""

    def build_dump(self, manifest: Manifest, fold: int) -> Dump:
        """The scores in the place of a network (·, fold): of the rows that it would be asked."""
        rows = manifest.rows_to_dump(fold)
        is_whole = len(rows) == len(self.logits)  # then embeddings stay on the disk
        member = MemberId(self.name, fold, self.digest, "", Correction())
        embeddings = self.embeddings if is_whole else self.embeddings[rows]
        return Dump(self.role, member, rows, self.logits[rows], embeddings)


def locate_outside(names: Iterable[str], folder: Path = FOLDER) -> dict[str, Path]:
    """Folders of these detectors, by name."""
    return {name: folder / name for name in names}


def write_outside(scores: DetectorScores, manifest: Manifest, folder: Path) -> None:
    """Writes the scores of one role; the JSON comes last."""
    _check_rows(scores, manifest)
    digests = {}
    for name in ARRAYS:
        path = folder / f"{scores.role}.{name}.npy"
        write_array(path, getattr(scores, name))
        digests[name] = digest_file(path)
    facts = {
        "detector": scores.name,
        "role": scores.role,
        "manifest": manifest.digest,
        "member": scores.digest,
        "learned_from": scores.learned_from,
        "clipped": scores.clipped,
        "sha256": digests,
    }
    write_sealed(folder / f"{scores.role}.json", facts)


def read_outside(folder: Path, manifest: Manifest) -> DetectorScores:
    """The scores of the manifest's role; embeddings are memory-mapped.

    Raises `MissingArtifactError`, `StaleArtifactError`, `IntegrityError`, `AlignmentError`.
    """
    role = manifest.role
    path = folder / f"{role}.json"
    facts = read_sealed(path, STAGE, _FORM)
    if facts["manifest"] != manifest.digest:
        versions = (f"manifest {facts['manifest'][:8]}", f"manifest {manifest.digest[:8]}")
        raise StaleArtifactError(path, *versions, STAGE)
    arrays: dict[str, Any] = {
        name: read_array(
            folder / f"{role}.{name}.npy",
            facts["sha256"].get(name, ""),
            STAGE,
            mapped=name == "embeddings",
        )
        for name in ARRAYS
    }
    scores = DetectorScores(
        facts["detector"],
        role,
        **arrays,
        digest=facts["member"],
        learned_from=facts["learned_from"],
        clipped=facts["clipped"],
    )
    _check_rows(scores, manifest)
    return scores


def write_summary(detectors: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    """What is known of the tables, by detector; also that there is none."""
    write_sealed(folder / SUMMARY, {"detectors": detectors})


def read_summary(folder: Path) -> dict[str, dict[str, Any]]:
    """What `write_summary` wrote. Raises `MissingArtifactError`, `IntegrityError`."""
    return dict(read_sealed(folder / SUMMARY, STAGE, {"detectors": dict})["detectors"])


def _check_rows(scores: DetectorScores, manifest: Manifest) -> None:
    found = (scores.logits.shape, scores.embeddings.shape[:1])
    wanted = ((len(manifest),), (len(manifest),))
    if found != wanted:
        raise AlignmentError(f"rows of {scores.name}, {scores.role}", found, wanted)
