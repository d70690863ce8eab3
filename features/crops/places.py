"""Squares that are cut out of a picture, drawn or on a grid; beyond its border it is mirrored.

A corner is the top and left of a square in pixels of its picture. It is negative where the picture
is smaller than the square, which then lies around its centre.
"""

import functools
import math

import numpy as np
import numpy.typing as npt

from features.core.manifest import Ids

Pixels = npt.NDArray[np.uint8]
Sizes = npt.NDArray[np.int32]
"""`(n, 2)`: height and width."""
Corners = npt.NDArray[np.int32]
"""`(n, 2)`: top and left."""


def reflect(start: int, count: int, length: int) -> Ids:
    """`(count,)` places from `start` on along a line of `length` pixels, mirrored at its ends.

    The last pixel itself is not repeated, as `np.pad` reflects.
    """
    period = max(1, 2 * (length - 1))
    places = np.arange(start, start + count) % period
    return np.minimum(places, period - places) if length > 1 else np.zeros(count, np.int64)


def cut_square(picture: Pixels, corner: Corners, out: Pixels) -> None:
    """Fills `out`, `(s, s, 3)`, from `corner` on; beyond the border the picture is mirrored."""
    (top, left), side = corner.tolist(), len(out)
    height, width = picture.shape[:2]
    if 0 <= top <= height - side and 0 <= left <= width - side:
        out[:] = picture[top : top + side, left : left + side]
    else:
        out[:] = picture[reflect(top, side, height)[:, None], reflect(left, side, width)]


def centre_corners(sizes: Sizes, side: int) -> Corners:
    """Of the square in the middle of each picture."""
    return np.asarray((sizes - side) // 2, np.int32)


def draw_corners(sizes: Sizes, side: int, uniform: npt.NDArray[np.float64]) -> Corners:
    """Anywhere in each picture, by numbers `(n, 2)` of 0 … 1; in the middle where it is smaller."""
    room = sizes - side
    return np.where(room > 0, np.floor(uniform * (room + 1)), room // 2).astype(np.int32)


@functools.lru_cache(maxsize=1 << 14)
def list_grid(height: int, width: int, side: int, most: int) -> Corners:
    """`(k, 2)` corners of 1 … `most` squares, line by line: as few as see all that can be seen.

    They overlap where the picture has no room for them side by side; where `most` are too few to
    cover it, they lie as far from each other as from the border.
    """
    lines, columns = (math.ceil(length / side) for length in (height, width))
    choices = [
        (-min(a * side, height) * min(b * side, width), a * b, a, b)
        for a in range(1, min(lines, most) + 1)
        for b in range(1, min(columns, most // a) + 1)
    ]
    *_, a, b = min(choices)
    tops, lefts = _spread(height, side, a), _spread(width, side, b)
    corners = np.stack(np.meshgrid(tops, lefts, indexing="ij"), axis=-1)
    return np.asarray(corners.reshape(-1, 2), np.int32)


def _spread(length: int, side: int, count: int) -> Corners:
    if count == 1:
        return np.array([(length - side) // 2], np.int32)
    gap = (length - count * side) / (count + 1)
    if gap > 0:
        return np.asarray(np.rint(gap + (gap + side) * np.arange(count)), np.int32)
    return np.asarray(np.rint(np.linspace(0, length - side, count)), np.int32)
