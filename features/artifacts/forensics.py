"""Forensic features on the disk, by `row_id`; checked whenever they are read.

`<folder>/<role>.npy` is float32 `(n, c)`, a row for each row of the role's manifest, NaN where the
image cannot be read. `<folder>/<role>.json` holds the names of the columns, the digest of the
manifest and the sha256 of the array. `features.forensics` writes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from features.core.files import digest_file, read_array, read_sealed, write_sealed
from features.core.manifest import Manifest, Role
from features.errors import AlignmentError, StaleArtifactError

STAGE = "forensics"
_FORM = {
    "role": str,
    "rows": int,
    "manifest": str,
    "names": list,
    "sha256": str,
}


@dataclass(frozen=True)
class ForensicTable:
    """Forensic features of one role."""

    role: Role
    names: tuple[str, ...]
    """Such as `noise:level`; what each is: `features.forensics.columns.describe_columns`."""
    values: npt.NDArray[np.float32]
    """`(n, c)`, memory-mapped; row i is `row_id` i, all NaN where the image cannot be read."""

    def __len__(self) -> int:
        return len(self.values)


def seal_forensics(folder: Path, manifest: Manifest, names: Sequence[str]) -> None:
    """Writes the JSON of an array that is complete."""
    facts = {
        "role": manifest.role,
        "rows": len(manifest),
        "manifest": manifest.digest,
        "names": list(names),
        "sha256": digest_file(folder / f"{manifest.role}.npy"),
    }
    write_sealed(folder / f"{manifest.role}.json", facts)


def read_forensics(folder: Path, manifest: Manifest) -> ForensicTable:
    """Reads the features of the manifest's rows.

    Raises `MissingArtifactError`, `StaleArtifactError` if they were made from another manifest,
    `IntegrityError`, or `AlignmentError` if rows or columns are not as many as they should be.
    """
    path = folder / f"{manifest.role}.json"
    facts = read_sealed(path, STAGE, _FORM)
    if facts["manifest"] != manifest.digest:
        versions = (f"manifest {facts['manifest'][:8]}", f"manifest {manifest.digest[:8]}")
        raise StaleArtifactError(path, *versions, STAGE)
    array = folder / f"{manifest.role}.npy"
    values = read_array(array, facts["sha256"], STAGE, mapped=True)
    wanted = (len(manifest), len(facts["names"]))
    if values.shape != wanted:
        raise AlignmentError(f"rows and columns of {array}", values.shape, wanted)
    return ForensicTable(manifest.role, tuple(facts["names"]), values)
