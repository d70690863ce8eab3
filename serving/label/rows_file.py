"""Rows that are kept as they come, so that a run that was cut off goes on.

Beside the file that is asked for, `.<name>.rows` holds a line for each row: its position among the
pictures, what tells the picture's file, and the row as JSON. The first line says what the rows
depend on. A line counts once its end is on the disk; of several of one position the last one does.
"""

import json
import os
import time
from array import array
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from features.core.files import name_place
from serving.ensemble.rows import LabelledPicture
from serving.reading.pictures import GivenPicture

NO_FILE = "-"
SYNC_SECONDS = 1.0
"""What a power cut loses at most; a kill loses nothing that was written."""


class RowsFile:
    """The rows of one run. A context manager."""

    def __init__(self, path: Path, key: Mapping[str, Any]) -> None:
        """`key`: what the rows depend on, such as the bundle; other rows are thrown away."""
        self.path, self._key = path, json.dumps(dict(key), sort_keys=True)
        self._synced = time.monotonic()
        self._file: IO[bytes]
        self._places = array("q")
        """By position where the line of a row begins."""
        self._end = 0
        """Of the last line."""
        self._missing = deque[tuple[int, str]]()
        """Of pictures whose rows are to come: their positions, and what tells their files."""
        self.count = 0
        """Pictures whose rows are there."""

    def __enter__(self) -> "RowsFile":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with name_place(self.path):
            self._file = open(self.path, "ab+")
            self._file.seek(0)
            if self._file.readline() != self._key.encode() + b"\n":
                self._file.truncate(0)
                self._file.write(self._key.encode() + b"\n")
                self._file.flush()
            self._end = len(self._key.encode()) + 1
            self._find_lines()
            self._file.truncate(self._end)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def skip_known(self, pictures: Iterator[GivenPicture]) -> Iterator[GivenPicture]:
        """Those pictures whose rows are not there, or of another file, or of one that could not be
        read: their rows are to be added, in order."""
        total = 0
        with open(self.path, "rb") as known:
            for total, picture in enumerate(pictures, 1):
                is_there = total <= len(self._places)
                if is_there and _is_of(known, self._places[total - 1], picture):
                    self.count += 1
                    continue
                self._missing.append((total - 1, picture.state or NO_FILE))
                yield picture
        del self._places[total:]

    def add(self, row: LabelledPicture) -> None:
        """Raises `OSError` where the disk is full."""
        position, state = self._missing.popleft()
        text = json.dumps(asdict(row), ensure_ascii=False)
        line = f"{position} {state} {text}\n".encode()
        with name_place(self.path):
            self._file.write(line)
            if time.monotonic() - self._synced > SYNC_SECONDS:
                self.sync()
        self._note(position, line)
        self.count += 1

    def sync(self) -> None:
        """Puts all that was added on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def read(self) -> Iterator[LabelledPicture]:
        """The rows of all pictures, in their order, one at a time."""
        self.sync()
        with open(self.path, "rb") as file:
            for place in self._places:
                yield _read_row(file, place)[1]

    def _find_lines(self) -> None:
        """Notes where each line begins, as far as they are whole."""
        self._file.seek(self._end)
        for line in self._file:
            position = line.partition(b" ")[0]
            is_whole = line.endswith(b"\n") and position.isdigit()
            if not is_whole or int(position) > len(self._places):
                break
            self._note(int(position), line)

    def _note(self, position: int, line: bytes) -> None:
        if position == len(self._places):
            self._places.append(self._end)
        else:
            self._places[position] = self._end
        self._end += len(line)


def _is_of(file: IO[bytes], place: int, picture: GivenPicture) -> bool:
    """Whether a line is a row of this picture as it is now."""
    state, row = _read_row(file, place)
    return row.is_readable and row.name == picture.name and state == picture.state


def _read_row(file: IO[bytes], place: int) -> tuple[str, LabelledPicture]:
    """Of a line what tells the picture's file, and the row."""
    file.seek(place)
    _, state, text = file.readline().split(b" ", 2)
    return state.decode(), LabelledPicture(**json.loads(text))
