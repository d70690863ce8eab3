"""Tables that are computed part by part: what was finished before a kill is kept.

Each part is a file of its own in `<resume_dir>/forensics-<hash>/`, written atomically, with its
sha256 at the end. The hash is that of all that the values depend on.
"""

import json
import logging
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from features.core.files import digest_bytes, digest_file, digest_json, write_atomic, write_json
from features.core.manifest import Role
from features.errors import IntegrityError
from features.forensics.columns import COLUMNS, count_together, measure_images
from features.pixels.store import ImageStore
from features.runtime.locks import hold

ROWS = 256
"""Rows of a part: a second or two of work, which is what a kill costs each process."""
PACKAGES = ("numpy", "scipy", "Pillow")
_DIGEST = 64
_log = logging.getLogger("forgerystack")


@dataclass(frozen=True)
class Part:
    """Rows `start` … `stop - 1` of a role's table, `width` columns of float32."""

    folder: Path
    role: Role
    start: int
    stop: int
    width: int

    @property
    def path(self) -> Path:
        """Where it lies once it is finished."""
        return self.folder / f"{self.role}-{self.start:09d}.bin"

    def write(self, values: npt.NDArray[np.float32]) -> None:
        """Writes the part, whole or not at all."""
        content = np.ascontiguousarray(values, np.float32).tobytes()
        with write_atomic(self.path) as file:
            file.write(content + digest_bytes(content).encode())

    def read(self) -> bytes:
        """Its values; raises `IntegrityError` unless they are whole."""
        content = self.path.read_bytes() if self.path.is_file() else b""
        values, digest = content[:-_DIGEST], content[-_DIGEST:]
        is_whole = len(values) == (self.stop - self.start) * self.width * 4
        if not is_whole or digest_bytes(values).encode() != digest:
            raise IntegrityError(self.path, "it is not what was written", "Run it again")
        return values

    def is_finished(self) -> bool:
        """Whether it is there, whole."""
        if not self.path.is_file():
            return False
        try:
            self.read()
        except IntegrityError:
            _log.warning("%s is damaged and computed again", self.path)
            return False
        return True


def list_parts(folder: Path, role: Role, rows: int, width: int) -> list[Part]:
    """The parts of a table of so many rows."""
    starts = range(0, rows, ROWS)
    return [Part(folder, role, start, min(start + ROWS, rows), width) for start in starts]


def join_parts(parts: list[Part], rows: int, width: int, path: Path) -> None:
    """Writes the table `(rows, width)` as `.npy`, one part at a time.

    Not through a memory map: where the disk is full that would kill the process.
    """
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, width)}
    with write_atomic(path) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(part.read())


@contextmanager
def open_folder(resume_dir: Path, facts: Mapping[str, Any], out: Path) -> Iterator[Path]:
    """The folder of the parts of a table that depends on `facts` and goes to `out`.

    It stays if anything is raised; else it is removed, with those of other stopped runs for the
    same `out`. Raises `LockedError` while another process works for `out`.
    """
    key = {"out": out.as_posix(), "code": digest_code(), **facts}
    key["versions"] = {name: version(name) for name in PACKAGES}
    folder = resume_dir / f"forensics-{digest_json(key)[:12]}"
    with hold(out, resume_dir):
        write_json(folder / "key.json", key)
        yield folder.resolve()
        for path in resume_dir.glob("forensics-*/key.json"):
            if path.parent == folder or _read_out(path) == key["out"]:
                shutil.rmtree(path.parent, ignore_errors=True)


def digest_code() -> str:
    """sha256 of the sources of `features` that are loaded now."""
    sources = {}
    for name, module in sys.modules.items():
        path = getattr(module, "__file__", None)
        if name.startswith("features.") and path:
            sources[name] = digest_file(Path(path))
    return digest_json(sources)


def _read_out(path: Path) -> str | None:
    try:
        key = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return key.get("out") if isinstance(key, dict) else None


def measure_store(store: ImageStore) -> npt.NDArray[np.float32]:
    """`(n, c)` features of all images of a store; a few of them are in memory at a time."""
    step = count_together(store.size)
    rows = [np.arange(i, min(i + step, len(store))) for i in range(0, len(store), step)]
    empty = np.empty((0, len(COLUMNS)), np.float32)
    return np.concatenate([empty, *(measure_images(store.gather(r)) for r in rows)])


def measure_part(part: Part, store: ImageStore, readable: npt.NDArray[np.bool_]) -> int:
    """Writes the features of a part, of whose rows `store` holds the readable ones; counts rows."""
    values = np.full((len(readable), len(COLUMNS)), np.nan, np.float32)
    values[readable] = measure_store(store)
    if not np.isfinite(values[readable]).all():
        raise ValueError(f"features that are not finite in {part.path}")
    part.write(values)
    return len(readable)
