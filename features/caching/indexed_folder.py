"""A folder of a cache: files that only grow, and an SQLite index that says what they hold.

A context manager: it holds a lock and the index. A kill or a power cut leaves no record of bytes
that were lost, and an index that is damaged is made anew, with the files.
"""

import logging
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from features.core.files import name_place

ASKED = 900
"""Values in one SQL query; SQLite allowed 999 for long."""
_log = logging.getLogger("forgerystack")


class IndexedFolder:
    """`data_paths` are the files beside the index, which are there from the start."""

    def __init__(self, folder: Path, schema: str, data_paths: Sequence[Path]) -> None:
        self.folder, self._schema, self._data_paths = folder, schema, data_paths
        self.index_path = folder / "index.sqlite"
        self._lock = FileLock(folder / "lock")

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=1)
        except Timeout:
            _log.info("images: waiting for another process that works in %s", self.folder)
            self._lock.acquire()
        try:
            self._index = self._open_index()
        except sqlite3.OperationalError:  # of the disk: what it holds is not damaged
            raise
        except sqlite3.DatabaseError:
            _log.warning(
                "images: the index in %s is damaged; everything is read again", self.folder
            )
            for path in (self.index_path, *self._data_paths):
                path.unlink()
            self._index = self._open_index()
        return self

    def _open_index(self) -> sqlite3.Connection:
        for path in self._data_paths:
            path.touch()
        with name_place(self.index_path):
            index = sqlite3.connect(self.index_path)
            index.executescript(self._schema)
            # All of it, 2 s of half a million files: a damaged key would lead to another picture.
            (state,) = index.execute("PRAGMA integrity_check(1)").fetchone()
        if state != "ok":
            raise sqlite3.DatabaseError(state)
        return index

    def __exit__(self, *_: object) -> None:
        self._index.close()
        self._lock.release()

    def commit(self) -> None:
        """Flushes what was written, then records it: a power cut leaves no record of lost bytes."""
        for path in self._data_paths:
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        with name_place(self.index_path):
            self._index.commit()


def mark_values(values: Sequence[Any]) -> str:
    """The marks of so many values in an SQL query."""
    return ", ".join("?" * len(values))
