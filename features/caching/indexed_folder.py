"""A folder of a cache, and its SQLite index.

A context manager: it holds a lock and the index. An index that is damaged is made anew, and what
lies beside it goes. Whoever leaves it writes down its sha256; only one that is another then, as
after a kill, has to be looked through.
"""

import logging
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from features.core.files import digest_file, name_place, write_atomic

ASKED = 900
"""Values in one SQL query; SQLite allowed 999 for long."""
_log = logging.getLogger("forgerystack")


class IndexedFolder:
    """`schema` are the tables of its index."""

    def __init__(self, folder: Path, schema: str) -> None:
        self.folder, self._schema = folder, schema
        self.index_path, self._seal = folder / "index.sqlite", folder / "index.sha256"
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
            self.index_path.unlink()
            self._remove_data()
            self._index = self._open_index()
        return self

    def _open_index(self) -> sqlite3.Connection:
        with name_place(self.index_path):
            index = sqlite3.connect(self.index_path)
            index.executescript(self._schema)
            self._is_sealed = self._seal.is_file() and self._seal.read_bytes() == self._digest()
            if not self._is_sealed:
                check_index(index)
        self._changes = index.total_changes
        return index

    def _write_seal(self) -> None:
        # On a full disk there is none, and the index is looked through the next time.
        with suppress(OSError), write_atomic(self._seal) as file:
            file.write(self._digest())

    def _digest(self) -> bytes:
        return digest_file(self.index_path).encode()

    def _remove_data(self) -> None:
        """Removes what only a lost index knew."""

    def __exit__(self, *error: object) -> None:
        changed = self._index.total_changes > self._changes
        try:
            self._index.close()
            if not any(error) and (changed or not self._is_sealed):
                self._write_seal()
        finally:
            self._lock.release()

    def commit(self) -> None:
        """Keeps what was recorded."""
        with name_place(self.index_path):
            self._index.commit()


def check_index(index: sqlite3.Connection) -> None:
    """Raises `sqlite3.DatabaseError` unless all of it is whole: 7 s of a million files, where its
    sha256 takes 0.3 s. A damaged key would lead to another picture."""
    (state,) = index.execute("PRAGMA integrity_check(1)").fetchone()
    if state != "ok":
        raise sqlite3.DatabaseError(state)


def mark_values(values: Sequence[Any]) -> str:
    """The marks of so many values in an SQL query."""
    return ", ".join("?" * len(values))
