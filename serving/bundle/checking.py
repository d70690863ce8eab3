"""Pictures of val that graphs are held against torch with, some of which travel along."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from features.core.manifest import READABLE, Ids, Manifest
from features.core.trusted import ANYWHERE
from features.errors import ImageProblem, ManifestError
from features.pixels.reading import read_content
from serving.format.facts import PixelFacts
from serving.reading.pictures import GivenPicture
from serving.reading.squares import SquareReader
from serving.scoring.views import Squares

CHECKED = 32
"""Pictures: as many as one batch of a dump."""
Found = TypeVar("Found")


@dataclass(frozen=True)
class CheckedPictures:
    """Rows of one manifest with their files' contents and squares."""

    manifest: Manifest
    row_ids: Ids
    contents: list[bytearray]
    squares: Squares

    def __len__(self) -> int:
        return len(self.row_ids)


def read_checked(manifest: Manifest, root: Path, facts: PixelFacts) -> CheckedPictures:
    """Readable rows from all over the manifest, classes in turn.

    Raises `ManifestError` for files that are no longer there or others.
    """
    row_ids = choose_checked_rows(manifest)
    reader = SquareReader(facts)

    def read(content: bytearray) -> tuple[bytearray, Squares]:
        return content, reader.read(GivenPicture("", partial(bytearray, content)))

    found = read_row_files(manifest, row_ids, root, read)
    empty = np.empty((0, facts.size, facts.size, 3), np.uint8)
    stacked = np.concatenate([empty, *(squares for _, squares in found)])
    return CheckedPictures(manifest, row_ids, [content for content, _ in found], stacked)


def read_row_files(
    manifest: Manifest, row_ids: Ids, root: Path, read: Callable[[bytearray], Found]
) -> list[Found]:
    """What `read` makes of the content of each row's file.

    Raises `ManifestError` for files that are no longer there, or that it raises `ImageProblem` for.
    """
    found, problems = [], []
    for path in manifest.table["path"].iloc[row_ids]:
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
    readable = np.flatnonzero(manifest.table["status"].to_numpy() == READABLE)
    labels = manifest.labels[readable]
    classes = [readable[labels == label] for label in np.unique(labels)]
    if not classes:
        return np.empty(0, np.int64)
    most = min(CHECKED // len(classes), *map(len, classes))
    spread = [own[np.linspace(0, len(own) - 1, most).round().astype(int)] for own in classes]
    return np.asarray(np.stack(spread, axis=1).reshape(-1), np.int64)
