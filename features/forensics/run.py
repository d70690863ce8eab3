"""What `python -m features.forensics` does."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

from features.artifacts.forensics import seal_forensics
from features.core.manifest import READABLE, ROLES, Manifest, Role, read_manifest
from features.errors import Stopped, WorkerKilledError
from features.forensics.columns import COLUMNS
from features.forensics.parts import Part, join_parts, list_parts, measure_part, open_folder
from features.forensics.settings import ForensicParams
from features.pixels.store import ImageStore, open_store
from features.runtime.progress import show_progress

MANIFEST = Path("artifacts/manifest")
OUT = Path("artifacts/forensics")
MANY = 1 << 24
"""Pixels from which on processes share the work: two seconds of it; they take one to start."""
_log = logging.getLogger("forgerystack")


def find_readable(manifest: Manifest) -> npt.NDArray[np.bool_]:
    """`(n,)`: rows whose image can be read."""
    return np.asarray(manifest.table["status"] == READABLE, bool)


def measure_missing(
    parts: Sequence[Part], manifests: dict[Role, Manifest], stores: dict[Role, ImageStore]
) -> None:
    """Computes and writes the parts that are not finished. Raises `Stopped` on Ctrl-C."""
    missing = [part for part in parts if not part.is_finished()]
    readable = {role: find_readable(manifest) for role, manifest in manifests.items()}
    pixels = sum((p.stop - p.start) * stores[p.role].size ** 2 for p in missing)

    def build_task(part: Part) -> object:
        inside = readable[part.role][part.start : part.stop]
        rows = part.start + np.flatnonzero(inside)
        return delayed(measure_part)(part, stores[part.role].select(rows), inside)

    work = Parallel(
        n_jobs=-1,
        prefer="processes" if pixels >= MANY else "threads",
        return_as="generator_unordered",
        batch_size=1,
    )(build_task(part) for part in missing)
    done = len(parts) - len(missing)
    rows = [sum(p.stop - p.start for p in some) for some in (parts, missing)]
    try:
        with show_progress("forensics", rows[0], "images", rows[0] - rows[1]) as meter:
            for count in work:
                meter.advance(count)
                done += 1
    except TerminatedWorkerError as error:
        raise WorkerKilledError("forensic features were computed") from error
    except KeyboardInterrupt:
        raise Stopped(f"after {done} of {len(parts)} parts") from None


def run(params: ForensicParams, resume_dir: Path, out: Path = OUT) -> None:
    """Reads manifests and images, writes a table and its facts for each role.

    Goes on where a run with the same rows, images, code and `out` was cut off. Raises `Stopped`,
    `LockedError`.
    """
    start = time.perf_counter()
    manifests = {role: read_manifest(MANIFEST, role) for role in ROLES}
    root = Path(params.data.root)
    facts = {
        "manifests": {role: manifest.digest for role, manifest in manifests.items()},
        "images": params.images.model_dump(mode="json", include={"size", "equalize"}),
    }
    width = len(COLUMNS)
    with open_folder(resume_dir, facts, out) as folder:
        stores = {role: open_store(rows, root, params.images) for role, rows in manifests.items()}
        parts = {role: list_parts(folder, role, len(manifests[role]), width) for role in ROLES}
        measure_missing([part for role in ROLES for part in parts[role]], manifests, stores)
        for role, manifest in manifests.items():
            join_parts(parts[role], len(manifest), width, out / f"{role}.npy")
            seal_forensics(out, manifest, COLUMNS)
    _log.info(
        "forensics: %d columns of %s, %.1f s",
        width, ", ".join(f"{len(rows)} {role} rows" for role, rows in manifests.items()),
        time.perf_counter() - start,
    )  # fmt: skip
