"""What `python -m features.forensics` does."""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

from features.artifacts.forensics import seal_forensics
from features.artifacts.row_blocks import Layout, RowBlocks
from features.core.files import link_file, write_array
from features.core.manifest import ROLES, Manifest, Role, read_manifest
from features.errors import Stopped, WorkerKilledError
from features.forensics.columns import COLUMNS
from features.forensics.measuring import RowRange, measure_range, split_ranges
from features.forensics.settings import ForensicParams
from features.pixels.store import FileStore, ImageStore, open_store
from features.runtime.locks import hold
from features.runtime.memory import count_workers
from features.runtime.progress import show_progress
from features.runtime.run_folder import RunFolder, describe_run

MANIFEST = Path("artifacts/manifest")
OUT = Path("artifacts/forensics")
COMPUTING = ("numpy", "scipy", "Pillow")
"""Packages whose versions results depend on."""
MANY = 1 << 24
"""Pixels from which on processes share the work: two seconds of it; they take one to start."""
_log = logging.getLogger("forgerystack")


def open_table_blocks(folder: Path, manifests: Mapping[Role, Manifest]) -> dict[Role, RowBlocks]:
    """What is there of each role's table, a row for each row of its manifest."""
    blocks = {}
    for role, manifest in manifests.items():
        layouts: dict[str, Layout] = {"values": (np.float32, (len(manifest), len(COLUMNS)))}
        blocks[role] = RowBlocks(folder, role, len(manifest), layouts)
    return blocks


def measure_missing(
    blocks: Mapping[Role, RowBlocks],
    manifests: Mapping[Role, Manifest],
    stores: Mapping[Role, ImageStore],
) -> None:
    """Computes the rows that are not there, and keeps them. Raises `Stopped` on Ctrl-C."""
    missing = [r for role, b in blocks.items() for r in split_ranges(role, b.list_missing())]
    readable = {role: manifest.readable for role, manifest in manifests.items()}
    is_much = sum(len(rows) * stores[rows.role].size ** 2 for rows in missing) >= MANY
    worker_bytes = _count_decoded(missing, manifests, stores) / count_workers() if is_much else None

    def build_task(rows: RowRange) -> object:
        inside = readable[rows.role][rows.start : rows.stop]
        row_ids = rows.start + np.flatnonzero(inside)
        return delayed(measure_range)(rows, stores[rows.role].select(row_ids), inside, worker_bytes)

    work = Parallel(
        n_jobs=-1,
        prefer="processes" if is_much else "threads",
        return_as="generator_unordered",
        batch_size=1,
    )(build_task(rows) for rows in missing)
    total = sum(len(manifest) for manifest in manifests.values())
    done = total - sum(len(rows) for rows in missing)
    try:
        with show_progress("forensics", total, "images", done) as meter:
            for rows, values in work:
                blocks[rows.role].add(rows.start, [values])
                blocks[rows.role].save_if_due()
                meter.advance(len(rows))
                done += len(rows)
    except TerminatedWorkerError as error:
        raise WorkerKilledError("forensic features were computed") from error
    except KeyboardInterrupt:
        raise Stopped(f"after {done:,} of {total:,} images") from None
    finally:
        for kept in blocks.values():
            kept.save()


def _count_decoded(
    missing: Sequence[RowRange],
    manifests: Mapping[Role, Manifest],
    stores: Mapping[Role, ImageStore],
) -> float:
    """Bytes of the files of these rows that are decoded at each use."""
    decoded = [role for role, store in stores.items() if isinstance(store, FileStore)]
    sizes = {role: manifests[role].read("bytes").to_numpy(np.float64) for role in decoded}
    parts = [sizes[r.role][r.start : r.stop] for r in missing if r.role in sizes]
    return float(sum(part.sum() for part in parts))


def write_nothing(manifests: Mapping[Role, Manifest], out: Path) -> None:
    """Tables without columns."""
    for role, manifest in manifests.items():
        write_array(out / f"{role}.npy", np.empty((len(manifest), 0), np.float32))
        seal_forensics(out, manifest, ())


def run(params: ForensicParams, resume_dir: Path, out: Path = OUT) -> None:
    """Reads manifests and images, writes a table and its facts for each role.

    Goes on where a run with the same rows, images, code and `out` was cut off. Raises `Stopped`,
    `LockedError`.
    """
    start = time.perf_counter()
    manifests = {role: read_manifest(MANIFEST, role) for role in ROLES}
    if not any(manifest.has_pictures for manifest in manifests.values()):
        write_nothing(manifests, out)
        _log.info("forensics: there are no pictures, so no columns")
        return
    root = Path(params.data.root)
    key = describe_run(
        out,
        COMPUTING,
        manifests={role: manifest.digest for role, manifest in manifests.items()},
        images=params.images.pixel_settings,
    )
    kept = RunFolder(resume_dir, "forensics", key)
    with hold(out, resume_dir):
        kept.open()
        stores = {role: open_store(rows, root, params.images) for role, rows in manifests.items()}
        blocks = open_table_blocks(kept.path, manifests)
        measure_missing(blocks, manifests, stores)
        for role, manifest in manifests.items():
            link_file(blocks[role].finish()["values"], out / f"{role}.npy")
            seal_forensics(out, manifest, COLUMNS)
        kept.clear()
    _log.info(
        "forensics: %d columns of %s, %.1f s",
        len(COLUMNS), ", ".join(f"{len(rows)} {role} rows" for role, rows in manifests.items()),
        time.perf_counter() - start,
    )  # fmt: skip
