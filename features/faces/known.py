"""Faces that were found: a run that was killed, or runs again, looks at no picture twice."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from features.caching.indexed_folder import IndexedFolder

FORM = 1
"""Counts up when the detector, or what it is shown, changes."""
COMMIT_SECONDS = 1.0
"""A killed run loses at most so much work."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS found (
    place TEXT PRIMARY KEY, bytes INTEGER, mtime INTEGER, width INTEGER, height INTEGER, faces TEXT)
"""
State = tuple[int | None, int]
"""Of a file, as `features.pixels.reading.read_state` gives it."""


class FoundFaces(NamedTuple):
    """What is known of one picture."""

    width: int
    height: int
    faces: npt.NDArray[np.float32]
    """`(k, 5)` as `Detector.detect` gives them."""


class FaceIndex(IndexedFolder):
    """By the address of a picture, as long as its file has the same state. A context manager."""

    def __init__(self, store_dir: str) -> None:
        super().__init__(Path(store_dir) / f"faces-{FORM}", _SCHEMA)
        self._committed = time.monotonic()

    def __exit__(self, *error: object) -> None:
        try:
            self.commit()
        finally:
            super().__exit__(*error)

    def find(self, place: str, state: State) -> FoundFaces | None:
        """`None` for a picture that nobody has looked at since it was written."""
        query = (
            "SELECT width, height, faces FROM found WHERE place = ? AND bytes IS ? AND mtime = ?"
        )
        row = self._index.execute(query, (place, *state)).fetchone()
        if row is None:
            return None
        faces = np.array(json.loads(row[2]), np.float32).reshape(-1, 5)
        return FoundFaces(row[0], row[1], faces)

    def add(self, places: Sequence[str], state: State, found: Sequence[FoundFaces]) -> None:
        """Of the pictures of one file."""
        rows = [
            (place, *state, seen.width, seen.height, json.dumps(seen.faces.tolist()))
            for place, seen in zip(places, found, strict=False)  # none where nothing could be read
        ]
        self._index.executemany("INSERT OR REPLACE INTO found VALUES (?, ?, ?, ?, ?, ?)", rows)
        if time.monotonic() - self._committed > COMMIT_SECONDS:
            self.commit()
            self._committed = time.monotonic()
