"""Dumps: what a member says about rows that it did not learn from, checked on write and on read.

`<folder>/<role>.json` names the role's manifest, the member and the sha256 of three arrays beside
it: `<role>.row_ids.npy` int64 `(n,)` strictly increasing, `<role>.logits.npy` float32 `(n,)` raw
log-odds of fake, `<role>.embeddings.npy` float16 `(n, d)`; of a member that scores several crops of
a picture these are means, and there is `<role>.crop_logits.npy` float32 `(n, 2)`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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
from features.core.manifest import Ids, Manifest, Role
from features.core.members import Correction, MemberId
from features.errors import AlignmentError, NotFiniteError, StaleArtifactError

BLOCK = 4096
"""Rows of embeddings that are looked at together: all of them may not fit into memory."""
ARRAYS = ("row_ids", "logits", "embeddings")
OF_CROPS = "crop_logits"
_FORM = {
    "backbone": str,
    "fold": int,
    "role": str,
    "rows": int,
    "manifest": str,
    "member": str,
    "train_manifest": str,
    "correction": dict,
    "encoder": str,
    "sha256": dict,
}


@dataclass(frozen=True)
class Dump:
    """Logits and embeddings of one member on one role; those of a network are all finite."""

    role: Role
    member: MemberId
    row_ids: Ids
    logits: npt.NDArray[np.floating]
    embeddings: npt.NDArray[np.float16]
    crop_logits: npt.NDArray[np.floating] | None = None
    """`(n, 2)` of a member that scores several crops of a picture: their highest raw log-odds, and
    the standard deviation of them."""

    def __len__(self) -> int:
        return len(self.row_ids)

    @property
    def corrected_logits(self) -> npt.NDArray[np.float64]:
        """`(n,)` log-odds of fake at the class shares of the member's train rows."""
        return self.member.correction.apply(self.logits)

    @property
    def corrected_crop_logits(self) -> npt.NDArray[np.float64] | None:
        """`(n, 2)`: the highest of the crops' log-odds, corrected, and their standard deviation."""
        return self.member.correction.apply_to_crops(self.crop_logits)


def check_dump(dump: Dump, manifest: Manifest) -> None:
    """Raises unless the dump covers just the rows of `manifest` that its member may be asked.

    `LeakageError` for rows that the member learned from, `AlignmentError` for missing or repeated
    rows, `NotFiniteError` for logits that are none.
    """
    manifest.check_not_learned(dump.row_ids, dump.member.fold)
    name = f"dump of {dump.member.name}, {dump.role}"
    wanted = manifest.rows_to_dump(dump.member.fold)
    if not np.array_equal(dump.row_ids, wanted):
        missing = len(np.setdiff1d(wanted, dump.row_ids))
        found = f"{len(dump)} rows, {missing} of the wanted missing"
        raise AlignmentError(f"row ids of the {name}", found, f"{len(wanted)}, increasing")
    shapes = (dump.logits.shape, dump.embeddings.shape[:1])
    if shapes != ((len(dump),), (len(dump),)):
        raise AlignmentError(f"array lengths of the {name}", shapes, len(dump))
    finite = np.isfinite(dump.logits)
    if dump.crop_logits is not None:
        if dump.crop_logits.shape != (len(dump), 2):
            raise AlignmentError(f"crops of the {name}", dump.crop_logits.shape, (len(dump), 2))
        finite &= np.isfinite(dump.crop_logits).all(axis=1)
    if not finite.all():
        raise NotFiniteError(f"logits of the {name}", dump.row_ids[~finite])


def write_dump(
    dump: Dump, manifest: Manifest, folder: Path, files: Mapping[str, Path] | None = None
) -> None:
    """Checks the dump against its role's manifest and writes it; the JSON comes last.

    `files` are `.npy` of some of its arrays, by name: they are linked, not written again.
    Raises as `check_dump`, and `NotFiniteError` for embeddings, which float16 may not hold.
    """
    check_dump(dump, manifest)
    blocks = range(0, len(dump), BLOCK)
    bad = [~np.isfinite(dump.embeddings[i : i + BLOCK]).all(axis=1) for i in blocks]
    if bad and (rows := np.concatenate(bad)).any():
        name = f"embeddings of the dump of {dump.member.name}, {dump.role}"
        raise NotFiniteError(name, dump.row_ids[rows])
    digests = {}
    for name in ARRAYS if dump.crop_logits is None else (*ARRAYS, OF_CROPS):
        path = folder / f"{dump.role}.{name}.npy"
        if files and name in files:
            link_file(files[name], path)
        else:
            write_array(path, np.asarray(getattr(dump, name)))
        digests[name] = digest_file(path)
    facts = {
        "backbone": dump.member.backbone,
        "fold": dump.member.fold,
        "role": dump.role,
        "rows": len(dump),
        "manifest": manifest.digest,
        "member": dump.member.digest,
        "train_manifest": dump.member.train_digest,
        "correction": asdict(dump.member.correction),
        "encoder": dump.member.encoder,
        "sha256": digests,
    }
    write_sealed(folder / f"{dump.role}.json", facts)


def read_dump(folder: Path, manifest: Manifest, backbone: str, fold: int) -> Dump:
    """Reads the dump of member (backbone, fold) on the manifest's role, and checks it again.

    The embeddings are memory-mapped. Raises `MissingArtifactError`, `StaleArtifactError`,
    `IntegrityError`, or as `check_dump`.
    """
    stage = f"dump@{backbone}-{fold}"
    path = folder / f"{manifest.role}.json"
    facts = read_sealed(path, stage, _FORM)
    if facts["manifest"] != manifest.digest:
        versions = (f"manifest {facts['manifest'][:8]}", f"manifest {manifest.digest[:8]}")
        raise StaleArtifactError(path, *versions, stage)
    if (facts["backbone"], facts["fold"]) != (backbone, fold):
        found = f"{facts['backbone']}-{facts['fold']}"
        raise AlignmentError(f"member of {path}", found, f"{backbone}-{fold}")
    names = [*ARRAYS, *({OF_CROPS} & facts["sha256"].keys())]
    arrays = {name: _read_array(folder, manifest.role, name, facts, stage) for name in names}
    correction = Correction(**facts["correction"])
    learned_from, encoder = facts["train_manifest"], facts["encoder"]
    member = MemberId(backbone, fold, facts["member"], learned_from, correction, encoder)
    dump = Dump(manifest.role, member, **arrays)
    check_dump(dump, manifest)
    return dump


def _read_array(folder: Path, role: str, name: str, facts: dict[str, Any], stage: str) -> Any:
    path = folder / f"{role}.{name}.npy"
    return read_array(path, facts["sha256"][name], stage, mapped=name == "embeddings")
