"""What members say of perturbed pictures, on the disk; checked on write and on read.

Of val, or of rows of train that none of the members has learned from.

`<folder>/perturbed.json` names the manifest, the members, the variants and the sha256 of each
array beside it: `row_ids.npy` int64 `(n,)` strictly increasing, `forensics.npy` float32
`(v, n, c)`, and for each member `<backbone>-<fold>.logits.npy` float32 `(v, n)` and
`<backbone>-<fold>.embeddings.npy` float16 `(v, n, d)`, and where it scores several crops of a
picture `<backbone>-<fold>.crop_logits.npy` float32 `(v, n, 2)`. Without rows there is the JSON
alone.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from features.core.files import (
    digest_file,
    link_file,
    read_array,
    read_sealed,
    write_array,
    write_sealed,
)
from features.core.manifest import Ids, Manifest
from features.core.members import Correction, MemberId
from features.errors import AlignmentError, NotFiniteError, StaleArtifactError

STAGE = "perturb"
FACTS = "perturbed.json"
CLEAN = "clean"
"""The tier of pictures as they are."""
KINDS = ("logits", "embeddings", "crop_logits")
"""Arrays of a member; the last one where it scores several crops of a picture."""
Array = npt.NDArray[Any]
_FORM = {
    "manifest": str,
    "rows": int,
    "note": str,
    "variants": list,
    "members": list,
    "names": list,
    "sha256": dict,
}


class Variant(NamedTuple):
    """One perturbation at one strength; or a tier, which has none, by its name."""

    perturbation: str
    strength: float | None

    @property
    def name(self) -> str:
        """`jpeg 75`, `web`."""
        if self.is_tier:
            return self.perturbation
        return f"{self.perturbation} {self.strength:g}"

    @property
    def is_tier(self) -> bool:
        """Whether it is done to files, or nothing to none: robust AUC is the mean over these."""
        return self.strength is None


@dataclass(frozen=True)
class Perturbed:
    """`v` variants of `n` rows. Without rows the tuples are empty."""

    row_ids: Ids
    variants: tuple[Variant, ...] = ()
    members: tuple[MemberId, ...] = ()
    logits: tuple[Array, ...] = ()
    """Of each member: raw log-odds of fake, float32 `(v, n)`."""
    embeddings: tuple[Array, ...] = ()
    """Of each member: float16 `(v, n, d)`."""
    names: tuple[str, ...] = ()
    """Of forensic features, such as `noise:level`."""
    forensics: Array | None = None
    """Of the perturbed pixels: float32 `(v, n, c)`."""
    crop_logits: tuple[Array | None, ...] = ()
    """Of each member, where any scores several crops: float32 `(v, n, 2)` as in dumps, or none."""
    note: str = ""
    """Why there are no rows."""

    def __len__(self) -> int:
        return len(self.row_ids)

    @property
    def member_arrays(self) -> list[tuple[MemberId, tuple[Array | None, ...]]]:
        """Each member with its arrays, in the order of `KINDS`."""
        of_crops = self.crop_logits or (None,) * len(self.members)
        arrays = zip(self.logits, self.embeddings, of_crops, strict=True)
        return list(zip(self.members, arrays, strict=True))

    def list_arrays(self) -> dict[str, Array]:
        """All arrays by the name of their file; none where there are no rows."""
        if self.forensics is None:
            return {}
        arrays = {"row_ids": self.row_ids, "forensics": self.forensics}
        for member, found in self.member_arrays:
            for kind, array in zip(KINDS, found, strict=True):
                if array is not None:
                    arrays[f"{member.name}.{kind}"] = array
        return arrays


def check_perturbed(found: Perturbed, manifest: Manifest) -> None:
    """Raises `LeakageError` for rows of train that one of the members has learned from,
    `AlignmentError` for rows or shapes that do not fit, `NotFiniteError`.
    """
    ids = found.row_ids
    for member in found.members:
        manifest.check_not_learned(ids, member.fold)
        if (np.diff(ids) <= 0).any() or not np.isin(ids, manifest.rows_to_dump(member.fold)).all():
            wanted = f"readable {manifest.role} rows, increasing"
            raise AlignmentError("perturbed rows", f"{len(ids)}", wanted)
    shape = (len(found.variants), len(ids))
    for name, array in found.list_arrays().items():
        if name == "row_ids":
            continue
        if array.shape[:2] != shape:
            raise AlignmentError(f"variants and rows of perturbed {name}", array.shape, shape)
        finite = np.ones(len(ids), bool)
        for variant in array:  # one by one: embeddings of all may be large
            finite &= np.isfinite(variant.reshape(len(ids), -1)).all(axis=1)
        if not finite.all():
            raise NotFiniteError(f"perturbed {name}", ids[~finite])


def write_perturbed(
    found: Perturbed, manifest: Manifest, folder: Path, files: Mapping[str, Path] | None = None
) -> None:
    """Checks and writes; the JSON comes last.

    `files` are `.npy` of some of its arrays, by name: they are linked, not written again.
    """
    check_perturbed(found, manifest)
    digests = {}
    for name, array in found.list_arrays().items():
        path = folder / f"{name}.npy"
        if files and name in files:
            link_file(files[name], path)
        else:
            write_array(path, array)
        digests[name] = digest_file(path)
    facts = {
        "manifest": manifest.digest,
        "rows": len(found),
        "note": found.note,
        "variants": [list(variant) for variant in found.variants],
        "members": [asdict(member) for member in found.members],
        "names": list(found.names),
        "sha256": digests,
    }
    write_sealed(folder / FACTS, facts)


def read_perturbed(folder: Path, manifest: Manifest, stage: str = STAGE) -> Perturbed:
    """Reads what `write_perturbed` wrote; all but the row ids is memory-mapped.

    `stage`: what makes it. Raises `MissingArtifactError`, `StaleArtifactError` if it was made of
    another manifest, `IntegrityError`, or as `check_perturbed`.
    """
    path = folder / FACTS
    facts = read_sealed(path, stage, _FORM)
    if facts["manifest"] != manifest.digest:
        versions = (f"manifest {facts['manifest'][:8]}", f"manifest {manifest.digest[:8]}")
        raise StaleArtifactError(path, *versions, stage)
    if not facts["rows"]:
        return Perturbed(np.empty(0, np.int64), note=facts["note"])
    members = tuple(
        MemberId(**{**values, "correction": Correction(**values["correction"])})
        for values in facts["members"]
    )
    arrays = {
        name: read_array(folder / f"{name}.npy", digest, stage, mapped=True)
        for name, digest in facts["sha256"].items()
    }
    found = Perturbed(
        np.asarray(arrays["row_ids"]),
        tuple(Variant(*variant) for variant in facts["variants"]),
        members,
        tuple(arrays[f"{member.name}.logits"] for member in members),
        tuple(arrays[f"{member.name}.embeddings"] for member in members),
        tuple(facts["names"]),
        arrays["forensics"],
        tuple(arrays.get(f"{member.name}.crop_logits") for member in members),
    )
    check_perturbed(found, manifest)
    return found
