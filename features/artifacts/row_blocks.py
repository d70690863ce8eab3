"""Arrays on the disk that are filled by rows, so that a run goes on where it was cut off.

`<folder>/<name>.<array>.npy` have their full size from the start, and memory does not grow with the
number of rows. `<name>.json` names the blocks of rows that are there, with sha256s; a block is what
was added in a row between two saves. Files that are complete become results by a link.

    layouts = {"logits": (np.float32, (40,)), "embeddings": (np.float16, (40, 512))}
    blocks = RowBlocks(folder, "val", 40, layouts)
    for start, stop in blocks.list_missing():
        blocks.add(start, compute(start, stop))
        blocks.save_if_due()
    files = blocks.finish()
"""

import hashlib
import io
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from features.core.files import name_place, read_sealed, write_sealed
from features.errors import IntegrityError, MissingArtifactError

SAVE_SECONDS = 20.0
"""Between two saves: what a kill without warning loses at most."""
READ = 1 << 22
"""Bytes that are read at a time."""
Arrays = Sequence[npt.NDArray[Any]]
"""The same rows of each array, in the order of the layouts."""
Layout = tuple[type[np.number[Any]], tuple[int, ...]]
"""Type and shape of a whole array. Its first axes are those of the rows, one or several."""
_log = logging.getLogger("forgerystack")


class RowBlock(NamedTuple):
    """Rows `start` … `stop - 1`, and the sha256s of what each array holds of them."""

    start: int
    stop: int
    digests: list[str]


class RowBlocks:
    """Arrays of `rows` rows that are filled together, in any order; by one process."""

    def __init__(self, folder: Path, name: str, rows: int, layouts: Mapping[str, Layout]) -> None:
        """Opens what is there of the arrays, by name; what is damaged does not count."""
        self._rows, self._record = rows, folder / f"{name}.json"
        self._files = {
            array: _RowFile(folder / f"{name}.{array}.npy", np.dtype(dtype), shape, rows)
            for array, (dtype, shape) in layouts.items()
        }
        are_there = [file.allocate() for file in self._files.values()]
        self._saved = self._read_blocks() if all(are_there) else []
        self._unsaved: list[_Growing] = []
        self._saved_at = time.monotonic()

    def _read_blocks(self) -> list[RowBlock]:
        try:
            recorded = [RowBlock(*block) for block in read_sealed(self._record, "")["blocks"]]
        except MissingArtifactError:
            return []
        except IntegrityError:
            _log.warning("%s is damaged: all its rows are computed again", self._record)
            return []
        whole = [block for block in recorded if self._find_damage(block) is None]
        if len(whole) < len(recorded):
            lost = len(recorded) - len(whole)
            _log.warning("%s: %d damaged blocks are computed again", self._record, lost)
        return whole

    def _find_damage(self, block: RowBlock) -> Path | None:
        """A file that does not hold what was written of the block."""
        for file, digest in zip(self._files.values(), block.digests, strict=True):
            if file.digest(block.start, block.stop) != digest:
                return file.path
        return None

    def list_missing(self) -> list[tuple[int, int]]:
        """Ranges `(start, stop)` of rows that are still to be computed, in order."""
        saved = [(block.start, block.stop) for block in self._saved]
        unsaved = [(block.start, block.stop) for block in self._unsaved]
        edges = [(0, 0), *sorted(saved + unsaved)]
        starts = [stop for _, stop in edges]
        stops = [*(start for start, _ in edges[1:]), self._rows]
        return [(a, b) for a, b in zip(starts, stops, strict=True) if a < b]

    def add(self, start: int, arrays: Arrays) -> None:
        """Writes the rows from `start` on of all arrays."""
        contents = [
            file.write(start, rows) for file, rows in zip(self._files.values(), arrays, strict=True)
        ]
        if not self._unsaved or self._unsaved[-1].stop != start:
            hashes = [hashlib.sha256() for _ in self._files]
            self._unsaved.append(_Growing(start, start, hashes))
        growing = self._unsaved[-1]
        growing.stop += len(arrays[0])
        for digest, content in zip(growing.hashes, contents, strict=True):
            digest.update(content)

    def save(self) -> None:
        """Makes blocks of what was added since the last time: on the disk first, then recorded."""
        if self._unsaved:
            for file in self._files.values():
                file.sync()
            self._saved += [block.freeze() for block in self._unsaved]
            self._unsaved = []
            write_sealed(self._record, {"blocks": [list(block) for block in self._saved]})
        self._saved_at = time.monotonic()

    def save_if_due(self) -> None:
        """Saves where `SAVE_SECONDS` have passed."""
        if time.monotonic() - self._saved_at > SAVE_SECONDS:
            self.save()

    def map_arrays(self) -> list[npt.NDArray[Any]]:
        """All arrays, mapped from the disk."""
        return [file.map() for file in self._files.values()]

    def map_named_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All arrays by name, mapped from the disk."""
        return {name: file.map() for name, file in self._files.items()}

    def finish(self) -> dict[str, Path]:
        """The files of all arrays, by name, once every row is there.

        Raises `IntegrityError` for one that is no longer what was written.
        """
        self.save()
        assert not self.list_missing()
        for block in self._saved:
            if damaged := self._find_damage(block):
                raise IntegrityError(damaged, "it is not what was written", "Run it again")
        return {name: file.path for name, file in self._files.items()}


@dataclass
class _Growing:
    """A block that is not recorded yet."""

    start: int
    stop: int
    hashes: list[Any]

    def freeze(self) -> RowBlock:
        return RowBlock(self.start, self.stop, [digest.hexdigest() for digest in self.hashes])


@dataclass(frozen=True)
class _RowFile:
    """An array of `rows` rows as `.npy`, written row by row."""

    path: Path
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    rows: int

    @cached_property
    def _header(self) -> bytes:
        buffer = io.BytesIO()
        values = {"descr": self.dtype.str, "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(buffer, values)
        return buffer.getvalue()

    @cached_property
    def _row_bytes(self) -> int:
        return self.dtype.itemsize * int(np.prod(self.shape)) // max(1, self.rows)

    def _find(self, row: int) -> int:
        return len(self._header) + row * self._row_bytes

    def allocate(self) -> bool:
        """Gives it header and size; says whether it had them."""
        if self.path.is_file() and self.path.stat().st_size == self._find(self.rows):
            with open(self.path, "rb") as file:
                if file.read(len(self._header)) == self._header:
                    return True
        self.path.unlink(missing_ok=True)  # its bytes may be those of a result by now
        with name_place(self.path), open(self.path, "wb") as file:
            file.write(self._header)
            file.truncate(self._find(self.rows))
        return False

    def write(self, start: int, rows: npt.NDArray[Any]) -> bytes:
        """Returns the bytes of the rows. They are not written by a map: a full disk would kill."""
        content = np.ascontiguousarray(rows, self.dtype).tobytes()
        with name_place(self.path), open(self.path, "r+b") as file:
            file.seek(self._find(start))
            file.write(content)
        return content

    def sync(self) -> None:
        with open(self.path, "rb") as file:
            os.fsync(file.fileno())

    def digest(self, start: int, stop: int) -> str:
        left, content = (stop - start) * self._row_bytes, hashlib.sha256()
        with open(self.path, "rb") as file:
            file.seek(self._find(start))
            while left > 0 and (read := file.read(min(left, READ))):
                content.update(read)
                left -= len(read)
        return content.hexdigest()

    def map(self) -> npt.NDArray[Any]:
        if not self.rows:  # nothing cannot be mapped
            return np.empty(self.shape, self.dtype)
        return np.asanyarray(np.load(self.path, mmap_mode="r", allow_pickle=False))
