"""What members see of a picture, as the stores of `features` have it, to the same bits.

canvases = draw_canvases(pixels, [Sight(mode="crop", side=224, most=9)], equalize=False)
canvases[sight].cut()                                # (k, 224, 224, 3)
"""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from features.crops.places import Corners, centre_corners, cut_square, list_grid
from features.pixels.decoding import Pixels, fit_shape, reshape_picture
from features.pixels.kernels import PLAIN
from serving.format.facts import Sight


class Canvas(NamedTuple):
    """A picture in the size that members of one sight have it, and where they look."""

    pixels: Pixels
    """`(h, w, 3)`."""
    corners: Corners
    """`(k, 2)` of the squares."""
    side: int
    """Of the squares, in pixels."""

    def cut(self) -> Pixels:
        """`(k, side, side, 3)`."""
        squares = np.empty((len(self.corners), self.side, self.side, 3), np.uint8)
        for corner, square in zip(self.corners, squares, strict=True):
            cut_square(self.pixels, corner, square)
        return squares


Canvases = dict[Sight, Canvas]


def draw_canvases(pixels: Pixels, sights: Collection[Sight], equalize: bool) -> Canvases:
    """Of one picture `(h, w, 3)`; without torch."""
    height, width = pixels.shape[:2]
    resized: dict[tuple[int, int], Pixels] = {}
    canvases = {}
    for sight in sights:
        shape = _choose_shape(sight, height, width)
        if shape not in resized:
            resized[shape] = reshape_picture(pixels, *shape, equalize, PLAIN)[0]
        canvases[sight] = Canvas(resized[shape], _list_corners(sight, *shape), sight.side)
    return canvases


def _choose_shape(sight: Sight, height: int, width: int) -> tuple[int, int]:
    if sight.mode == "square":
        return sight.side, sight.side
    return fit_shape(height, width, sight.side if sight.mode == "fit" else None)


def _list_corners(sight: Sight, height: int, width: int) -> Corners:
    if sight.mode == "crop":
        return list_grid(height, width, sight.side, sight.most)
    return centre_corners(np.array([[height, width]], np.int32), sight.side)
