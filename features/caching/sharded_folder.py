"""A folder of a cache whose index says what lies in which shard, with a checksum of each part.

What is written at once is a *block*: a part in the shards of each name. It is recorded when its
bytes are on the disk, and forgotten as a whole where one of its parts has changed or is gone.
"""

import logging
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from features.caching import shard_files
from features.caching.indexed_folder import IndexedFolder
from features.caching.shard_files import ShardFiles
from features.core.files import name_place, sync_folder
from features.runtime.progress import track

_log = logging.getLogger("forgerystack")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS parts (
    name TEXT, place INTEGER, bytes INTEGER, checksum INTEGER, block INTEGER,
    PRIMARY KEY (name, place)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS blocks ON parts (block, name);
"""


class BlockPart(NamedTuple):
    """What a block has in the shards of one name."""

    files: ShardFiles
    place: int
    bytes: int
    checksum: int
    """crc32."""


class ShardedFolder(IndexedFolder, ABC):
    """`files` are all its shards, `schema` the tables of a kind of cache beside that of parts."""

    def __init__(self, folder: Path, schema: str, files: Sequence[ShardFiles]) -> None:
        super().__init__(folder, _SCHEMA + schema)
        self._files = {each.name: each for each in files}
        self._unsaved: set[Path] = set()

    def __enter__(self) -> Self:
        super().__enter__()
        self._drop_lost()
        return self

    @abstractmethod
    def _forget(self, block: int) -> None:
        """Takes the contents of a block out of the index."""

    def _remove_data(self) -> None:
        for files in self._files.values():
            for path in files.list_paths():
                path.unlink()

    def commit(self) -> None:
        """Flushes what was written, then records it: a power cut leaves no record of lost bytes."""
        for path in sorted(self._unsaved):
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        if self._unsaved:
            sync_folder(self.folder)
        self._unsaved.clear()
        super().commit()

    def _record_parts(self, block: int, parts: Iterable[BlockPart]) -> None:
        for part in parts:
            values = (part.files.name, part.place, part.bytes, part.checksum, block)
            self._index.execute("INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?, ?)", values)
            self._unsaved.add(part.files.locate(part.place).path)

    def drop_damaged(self, blocks: Sequence[int] | None = None) -> int:
        """Forgets those of the blocks (default: all) whose bytes have changed; says how many."""
        where = "" if blocks is None else f"WHERE block IN ({', '.join(map(str, blocks))})"
        (count,) = self._index.execute(f"SELECT COUNT(*) FROM parts {where}").fetchone()
        parts = self._index.execute(
            f"SELECT name, place, bytes, checksum, block FROM parts {where} ORDER BY name, place"
        )
        damaged = [
            (self._files[name].locate(place).path, block)
            for name, place, size, checksum, block in track(
                parts, "check decoded images", count, unit="blocks"
            )
            if self._files[name].locate(place).compute_checksum(size) != checksum
        ]
        return self._drop(damaged)

    def _drop_lost(self) -> None:
        """Forgets what lay in shards that are gone or were cut short."""
        lost = []
        for name, files in self._files.items():
            query = "SELECT MAX(place) FROM parts WHERE name = ?"
            (last,) = self._index.execute(query, [name]).fetchone()
            for first in range(0, -1 if last is None else last + 1, shard_files.SHARD_BYTES):
                path = files.locate(first).path
                there = path.stat().st_size if path.is_file() else 0
                query = "SELECT block FROM parts WHERE name = ? AND place >= ? AND place < ?"
                query += " AND place + bytes > ?"
                limits = (first, first + shard_files.SHARD_BYTES, first + there)
                lost += [(path, block) for (block,) in self._index.execute(query, (name, *limits))]
        self._drop(lost)

    def _drop(self, damaged: Sequence[tuple[Path, int]]) -> int:
        """Forgets blocks, each with the shard that is damaged; says how many there were."""
        blocks = {block for _, block in damaged}
        with name_place(self.index_path):
            for block in blocks:
                self._forget(block)
                self._index.execute("DELETE FROM parts WHERE block = ?", [block])
            self._index.commit()
        for path, count in sorted(Counter(path for path, _ in damaged).items()):
            _log.info("images: %d damaged blocks in %s, read again", count, path)
        return len(blocks)
