"""Grad-CAM: where in a picture a network sees signs of fake, and where signs of real.

`<folder>/gradcam.json` names val's manifest, the rows, the members and the sha256 of an array for
each backbone beside it: `<backbone>.npy` uint8 `(n, 2, h, w)`, signs of real first, then those of
fake. The strongest place of a row, over both, is 255. A backbone whose layer is `null` has no
places to tell apart (its head reads a class token, branches or one place); its array is all 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from features.core.files import digest_file, read_array, read_sealed, write_array, write_sealed
from features.core.manifest import Ids
from features.errors import StaleArtifactError

FACTS = "gradcam.json"
STAGE = "explain"
Maps = npt.NDArray[np.uint8]
_FORM = {
    "val_manifest": str,
    "row_ids": list,
    "members": dict,
    "layers": dict,
    "sha256": dict,
}


@dataclass(frozen=True)
class GradCam:
    """Maps of `n` rows of val, of one member of each backbone."""

    row_ids: Ids
    maps: Mapping[str, Maps]
    """By backbone `(n, 2, h, w)`: 0 signs of real, 1 of fake; where there is a layer."""
    layers: Mapping[str, str | None]
    """By backbone the layer whose feature maps were weighed, as timm names it."""
    members: Mapping[str, str]
    """By backbone the sha256 of the member's weights."""


def write_gradcam(found: GradCam, val_digest: str, folder: Path) -> None:
    """Writes the arrays, and the JSON last."""
    digests = {}
    for name in found.layers:
        path = folder / f"{name}.npy"
        write_array(path, found.maps.get(name, np.zeros((len(found.row_ids), 2, 1, 1), np.uint8)))
        digests[name] = digest_file(path)
    facts = {
        "val_manifest": val_digest,
        "row_ids": found.row_ids.tolist(),
        "members": dict(found.members),
        "layers": dict(found.layers),
        "sha256": digests,
    }
    write_sealed(folder / FACTS, facts)


def read_gradcam(folder: Path, val_digest: str, rows: Ids) -> GradCam:
    """What `explain` wrote for just these rows of the val manifest with this digest.

    Raises `MissingArtifactError`, `StaleArtifactError`, `IntegrityError`.
    """
    path = folder / FACTS
    facts = read_sealed(path, STAGE, _FORM)
    if facts["val_manifest"] != val_digest:
        versions = (f"val manifest {facts['val_manifest'][:8]}", val_digest[:8])
        raise StaleArtifactError(path, *versions, STAGE)
    row_ids = np.array(facts["row_ids"], np.int64)
    if not np.array_equal(row_ids, rows):
        found = f"a gallery of {len(row_ids)} rows"
        raise StaleArtifactError(path, found, f"another one, of {len(rows)},", STAGE)
    maps = {name: _read_maps(folder, name, facts["sha256"][name]) for name in facts["layers"]}
    seeing = {name: array for name, array in maps.items() if facts["layers"][name] is not None}
    return GradCam(row_ids, seeing, facts["layers"], facts["members"])


def _read_maps(folder: Path, backbone: str, digest: str) -> Maps:
    return read_array(folder / f"{backbone}.npy", digest, STAGE)
