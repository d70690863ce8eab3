"""Squares that networks see of pictures that keep their shape."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from features.core.manifest import Ids, Manifest
from features.crops.picture_store import PictureStore, open_changed_pictures, open_pictures
from features.crops.places import Corners, centre_corners, draw_corners, list_grid
from features.pixels.decoding import Pixels
from features.pixels.store import FileChange, ImageStore, open_changed, open_store
from features.settings.images import Images, Mode

Boxes = npt.NDArray[np.float64]


class FittedStore:
    """Of each picture the square in its middle, mirrored where the picture is smaller."""

    def __init__(self, pictures: PictureStore, size: int) -> None:
        self.pictures, self.size = pictures, size

    def __len__(self) -> int:
        return len(self.pictures.sizes)

    def select(self, row_ids: Ids) -> Self:
        """The images of `row_ids` as rows 0 … k - 1; cheap to send to another process."""
        selected = copy.copy(self)
        selected.pictures = self.pictures.select(row_ids)
        return selected

    def gather(self, row_ids: Ids, out: Pixels | None = None) -> Pixels:
        """`(b, size, size, 3)` uint8. Raises `ValueError` for rows that cannot be read."""
        return self.cut(row_ids, self.centre(row_ids), out)

    def centre(self, row_ids: Ids) -> Corners:
        """`(b, 2)` corners of the squares in the middle."""
        return centre_corners(self.pictures.sizes[row_ids], self.size)

    def cut(self, row_ids: Ids, corners: Corners, out: Pixels | None = None) -> Pixels:
        """`(b, size, size, 3)` uint8: a square of the picture of each row, from its corner on."""
        shape = (len(row_ids), self.size, self.size, 3)
        squares = np.empty(shape, np.uint8) if out is None else out
        self.pictures.cut(row_ids, corners, squares)
        return squares


class CropStore(FittedStore):
    """Of each picture a square of its own pixels: that in the middle, or one that is drawn."""

    def draw(self, row_ids: Ids, uniform: npt.NDArray[np.float64]) -> Corners:
        """`(b, 2)` corners of a square of each row, by numbers `(b, 2)` of 0 … 1."""
        return draw_corners(self.pictures.sizes[row_ids], self.size, uniform)


def place_boxes(
    store: ImageStore, row_ids: Ids, boxes: Boxes, corners: Corners | None = None
) -> Boxes:
    """Boxes `(b, 4)` of pictures as boxes of their squares, from `corners` on where they are given.

    Both are left, top, width and height as shares of the sides; NaN is a box that is not known. So
    is one whose middle lies outside of its square, and one that is larger.
    """
    if not isinstance(store, FittedStore):
        return boxes
    corners = store.centre(row_ids) if corners is None else corners
    sides = store.pictures.sizes[row_ids][:, [1, 0, 1, 0]]
    placed = boxes * sides / store.size
    placed[:, :2] -= corners[:, ::-1] / store.size
    middles = placed[:, :2] + placed[:, 2:] / 2
    is_outside = (middles < 0) | (middles > 1) | (placed[:, 2:] > 1)
    placed[is_outside.any(axis=1)] = np.nan
    return placed


class SquareGrid(NamedTuple):
    """The squares of some rows, those of a row one after the other."""

    row_ids: Ids
    """`(m,)`: the row of each square."""
    corners: Corners
    """`(m, 2)`."""
    counts: Ids
    """`(b,)`: squares of each row."""


class GridStore(CropStore):
    """Of each picture up to `most` squares of its own pixels, on a grid: what is scored of it."""

    def __init__(self, pictures: PictureStore, size: int, most: int) -> None:
        super().__init__(pictures, size)
        self.most = most

    def count_squares(self, row_ids: Ids) -> Ids:
        """`(b,)`: squares of each row."""
        return np.array([len(corners) for corners in self._list_corners(row_ids)], np.int64)

    def list_squares(self, row_ids: Ids) -> SquareGrid:
        """All squares of these rows."""
        corners = list(self._list_corners(row_ids))
        counts = np.array([len(own) for own in corners], np.int64)
        places = np.concatenate([np.empty((0, 2), np.int32), *corners])
        return SquareGrid(np.repeat(row_ids, counts), places, counts)

    def _list_corners(self, row_ids: Ids) -> Iterator[Corners]:
        for height, width in self.pictures.sizes[row_ids].tolist():
            yield list_grid(height, width, self.size, self.most)


def lay_grid(store: ImageStore, most: int, side: int | None = None) -> ImageStore:
    """What is scored of pictures: of a `CropStore` at most so many squares of each, of `side`
    pixels if that is given; other stores stay what they are.
    """
    if not isinstance(store, CropStore):
        return store
    return GridStore(store.pictures, side or store.size, most)


def count_squares(store: ImageStore, row_ids: Ids) -> int:
    """Squares that are scored of these rows in all."""
    if isinstance(store, GridStore):
        return int(store.count_squares(row_ids).sum())
    return len(row_ids)


def open_member_store(
    manifest: Manifest,
    root: Path,
    images: Images,
    mode: Mode,
    side: int,
    change: FileChange | None = None,
) -> ImageStore:
    """What a member of this mode, whose network sees `side` pixels, gets of a manifest's pictures.

    `change`: what is done to files first; they are decoded at each use then. Raises as
    `open_store`.
    """
    where = (manifest, root, images)
    if mode == "square":
        return open_store(*where) if change is None else open_changed(*where, change)
    longest = images.size if mode == "fit" else None
    pictures: PictureStore
    if change is None:
        pictures = open_pictures(*where, longest)
    else:
        pictures = open_changed_pictures(*where, longest, change)
    return FittedStore(pictures, images.size) if mode == "fit" else CropStore(pictures, side)


@dataclass
class MemberStores:
    """What members of several modes get of one manifest's pictures; each store is opened once."""

    manifest: Manifest
    root: Path
    images: Images
    change: FileChange | None = None
    """What is done to files first."""
    _opened: dict[tuple[Mode, int], ImageStore] = field(default_factory=dict, repr=False)

    def open(self, mode: Mode, side: int) -> ImageStore:
        """As `open_member_store`."""
        key = (mode, side if mode == "crop" else 0)
        if key not in self._opened:
            where = (self.manifest, self.root, self.images)
            self._opened[key] = open_member_store(*where, mode, side, self.change)
        return self._opened[key]
