"""Rows that are kept as they come, so that a run that was cut off goes on.

Beside the file that is asked for, `.<name>.rows` holds a line of JSON for each row: the first line
says what the rows depend on. A line counts once its end is on the disk.
"""

import itertools
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from features.core.files import name_place
from serving.ensemble.rows import LabelledPicture
from serving.reading.pictures import GivenPicture

SYNC_SECONDS = 1.0
"""What a power cut loses at most; a kill loses nothing that was written."""


class RowsFile:
    """The rows of one run. A context manager."""

    def __init__(self, path: Path, key: Mapping[str, Any]) -> None:
        """`key`: what the rows depend on, such as the bundle; other rows are thrown away."""
        self.path, self._key = path, json.dumps(dict(key), sort_keys=True)
        self._synced = time.monotonic()
        self._file: IO[bytes]
        self.count = 0
        """Rows that were there before."""

    def __enter__(self) -> "RowsFile":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with name_place(self.path):
            self._file = open(self.path, "ab+")
            self._file.seek(0)
            if self._file.readline() != self._key.encode() + b"\n":
                self._file.truncate(0)
                self._file.write(self._key.encode() + b"\n")
                self._file.flush()
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def skip_known(self, pictures: Iterator[GivenPicture]) -> Iterator[GivenPicture]:
        """Those pictures whose rows are not there yet. From the first other name on, rows are
        thrown away."""
        with open(self.path, "rb") as known:
            end, other = len(known.readline()), None
            for picture in pictures:
                line = known.readline()
                if not line.endswith(b"\n") or json.loads(line)["name"] != picture.name:
                    other = picture
                    break
                end += len(line)
                self.count += 1
        with name_place(self.path):
            self._file.truncate(end)
        return pictures if other is None else itertools.chain([other], pictures)

    def add(self, row: LabelledPicture) -> None:
        """Raises `OSError` where the disk is full."""
        line = json.dumps(asdict(row), ensure_ascii=False)
        with name_place(self.path):
            self._file.write(line.encode() + b"\n")
            if time.monotonic() - self._synced > SYNC_SECONDS:
                self.sync()

    def sync(self) -> None:
        """Puts all that was added on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def read(self) -> Iterator[LabelledPicture]:
        """All rows, one at a time."""
        self.sync()
        with open(self.path, "rb") as file:
            file.readline()
            for line in file:
                yield LabelledPicture(**json.loads(line))
