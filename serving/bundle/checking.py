"""Pictures of val that graphs are held against torch with, some of which travel along."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from features.core.manifest import Ids, Manifest
from features.core.trusted import ANYWHERE
from features.errors import ImageProblem, ManifestError
from features.pixels.reading import read_content
from features.settings.images import NO_LIMITS
from serving.format.facts import PixelFacts, Sight
from serving.reading.pictures import GivenPicture
from serving.reading.reader import PictureReader
from serving.reading.shown import RowSquares, ShownRows, join_rows

CHECKED = 32
"""Pictures: as many as one batch of a dump."""
NO_IDS: Ids = np.empty(0, np.int64)
Found = TypeVar("Found")


@dataclass(frozen=True)
class CheckedRows:
    """Readable rows of one manifest."""

    manifest: Manifest
    row_ids: Ids
    shown: ShownRows
    """Without looking for faces: rows are what was found."""

    def find_squares(self, sight: Sight) -> RowSquares:
        """What members of a sight see of them."""
        empty = RowSquares(np.empty((0, sight.side, sight.side, 3), np.uint8), NO_IDS, NO_IDS)
        return self.shown.by_sight.get(sight, empty)


def read_checked(
    manifest: Manifest, root: Path, facts: PixelFacts, sights: Collection[Sight]
) -> CheckedRows:
    """Rows from all over the manifest, classes in turn.

    Raises `ManifestError` for files that are no longer there or others.
    """
    row_ids = choose_checked_rows(manifest)
    reader = PictureReader(facts.model_copy(update={"limits": NO_LIMITS}))

    def read(content: bytearray) -> ShownRows:
        return reader.read(GivenPicture("", lambda: content), sights).rows

    paths = manifest.read("path").iloc[row_ids]
    return CheckedRows(manifest, row_ids, join_rows(read_row_files(manifest, paths, root, read)))


def read_row_files(
    manifest: Manifest, paths: Iterable[str], root: Path, read: Callable[[bytearray], Found]
) -> list[Found]:
    """What `read` makes of the content at each address of the manifest's pictures.

    Raises `ManifestError` for files that are no longer there, or that it raises `ImageProblem` for.
    """
    found, problems = [], []
    for path in paths:
        try:
            found.append(read(read_content(root, path, ANYWHERE).data))
        except ImageProblem as problem:
            problems.append(f"{path}: {problem}")
    if problems:
        advice = "They were readable when `prepare` ran. Run: dvc repro"
        raise ManifestError(f"pictures of {manifest.role}", problems, advice)
    return found


def choose_checked_rows(manifest: Manifest) -> Ids:
    """At most `CHECKED` readable rows, evenly spread over each class, reals and fakes in turn."""
    readable = np.flatnonzero(manifest.readable)
    labels = manifest.labels[readable]
    classes = [readable[labels == label] for label in np.unique(labels)]
    if not classes:
        return np.empty(0, np.int64)
    most = min(CHECKED // len(classes), *map(len, classes))
    spread = [own[np.linspace(0, len(own) - 1, most).round().astype(int)] for own in classes]
    return np.asarray(np.stack(spread, axis=1).reshape(-1), np.int64)
