"""Scores on the disk as they come, so that a dump goes on where it was cut off.

`<folder>/<part>.logits.bin` and `<part>.embeddings.bin` (or other arrays by row) have their full
size from the start, and memory does not grow with the number of images. `<part>.json` names the
blocks of rows that are there, with sha256s; a block is what was scored between two saves.
"""

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from features.core.files import name_place, read_sealed, write_sealed
from features.errors import IntegrityError, MissingArtifactError
from stage1_cnn.scoring.rows import ScoredRows

READ = 1 << 22
"""Bytes that are read at a time."""
_log = logging.getLogger("forgerystack")


class Block(NamedTuple):
    """Rows `start` … `stop - 1`, and the sha256s of what each array holds of them."""

    start: int
    stop: int
    digests: list[str]


@dataclass(frozen=True)
class _ScoreFile:
    """An array on the disk, without a header, written row by row."""

    path: Path
    dtype: Any
    shape: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        return int(np.dtype(self.dtype).itemsize * np.prod(self.shape[1:], dtype=int))

    def allocate(self) -> bool:
        """Gives it its size; says whether it had it."""
        size = self.shape[0] * self.row_bytes
        if self.path.is_file() and self.path.stat().st_size == size:
            return True
        with name_place(self.path), open(self.path, "wb") as file:
            file.truncate(size)
        return False

    def write(self, start: int, rows: npt.NDArray[Any]) -> bytes:
        """Returns the bytes of the rows. They are not written by a map: a full disk would kill."""
        content = np.ascontiguousarray(rows, self.dtype).tobytes()
        with name_place(self.path), open(self.path, "r+b") as file:
            file.seek(start * self.row_bytes)
            file.write(content)
        return content

    def sync(self) -> None:
        with open(self.path, "rb") as file:
            os.fsync(file.fileno())

    def digest(self, start: int, stop: int) -> str:
        left, content = (stop - start) * self.row_bytes, hashlib.sha256()
        with open(self.path, "rb") as file:
            file.seek(start * self.row_bytes)
            while left > 0 and (read := file.read(min(left, READ))):
                content.update(read)
                left -= len(read)
        return content.hexdigest()

    def map(self) -> npt.NDArray[Any]:
        if not self.shape[0]:  # an empty file cannot be mapped
            return np.empty(self.shape, self.dtype)
        return np.memmap(self.path, self.dtype, "r", shape=self.shape)


Kind = tuple[type[np.floating[Any]], tuple[int, ...]]
"""Of an array by row: its type, and the shape of a row."""


class RowBlocks:
    """Arrays of `rows` rows that are filled together: one part of a dump, such as a role."""

    def __init__(self, folder: Path, part: str, rows: int, kinds: Mapping[str, Kind]) -> None:
        """Opens what is there of the arrays, by name; what is damaged does not count."""
        self._rows, self._record = rows, folder / f"{part}.json"
        self._files = [
            _ScoreFile(folder / f"{part}.{name}.bin", dtype, (rows, *shape))
            for name, (dtype, shape) in kinds.items()
        ]
        are_there = [file.allocate() for file in self._files]
        self._blocks = self._read_blocks() if all(are_there) else []
        self.begin(0)

    def _read_blocks(self) -> list[Block]:
        try:
            found = [Block(*block) for block in read_sealed(self._record, "dump")["blocks"]]
        except MissingArtifactError:
            return []
        except IntegrityError:
            _log.warning("%s is damaged: all its rows are scored again", self._record)
            return []
        whole = [
            block
            for block in found
            if block.digests == [file.digest(block.start, block.stop) for file in self._files]
        ]
        if len(whole) < len(found):
            lost = len(found) - len(whole)
            _log.warning("%s: %d damaged blocks are scored again", self._record, lost)
        return whole

    def list_missing(self) -> list[tuple[int, int]]:
        """Ranges `(start, stop)` of rows that are still to be scored, in order."""
        edges = [(0, 0), *((b.start, b.stop) for b in sorted(self._blocks))]
        starts = [stop for _, stop in edges]
        stops = [*(start for start, _ in edges[1:]), self._rows]
        return [(a, b) for a, b in zip(starts, stops, strict=True) if a < b]

    def begin(self, start: int) -> None:
        """The next rows are those from `start` on."""
        self._first = self._next = start
        self._hashes = [hashlib.sha256() for _ in self._files]

    def add_arrays(self, arrays: Sequence[npt.NDArray[Any]]) -> None:
        """Writes the next rows of all arrays, in the order of the names."""
        for file, content, rows in zip(self._files, self._hashes, arrays, strict=True):
            content.update(file.write(self._next, rows))
        self._next += len(arrays[0])

    def save(self) -> None:
        """Makes a block of what was added since the last one: on the disk first, then recorded."""
        if self._next == self._first:
            return
        for file in self._files:
            file.sync()
        digests = [content.hexdigest() for content in self._hashes]
        self._blocks.append(Block(self._first, self._next, digests))
        write_sealed(self._record, {"blocks": [list(block) for block in self._blocks]})
        self.begin(self._next)

    def map_arrays(self) -> list[npt.NDArray[Any]]:
        """All arrays, mapped from the disk."""
        return [file.map() for file in self._files]


class ScoreBlocks(RowBlocks):
    """The scores of `rows` rows, embeddings `width` wide."""

    def __init__(self, folder: Path, part: str, rows: int, width: int) -> None:
        """As `RowBlocks`."""
        kinds: dict[str, Kind] = {
            "logits": (np.float32, ()),
            "embeddings": (np.float16, (width,)),
        }
        super().__init__(folder, part, rows, kinds)

    def add(self, scores: ScoredRows) -> None:
        """Writes the scores of the next rows."""
        self.add_arrays((scores.logits, scores.embeddings))

    def read(self) -> ScoredRows:
        """All scores, mapped from the disk."""
        return ScoredRows(*self.map_arrays())
