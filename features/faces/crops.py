"""Square crops around faces."""

import numpy as np
import numpy.typing as npt

from features.settings.images import Faces
from features.videos.addresses import Box

LEAST = 16
"""Pixels of the shorter side of a face below which there is nothing to see."""
MOST = 8
"""Faces of one picture, largest first."""


def choose_crops(faces: npt.NDArray[np.float32], width: int, height: int, how: Faces) -> list[Box]:
    """Of `(k, 5)` faces, largest first, in a picture of `width` x `height` pixels.

    Squares with `how.face_margin` on each side, moved and shrunk to lie within the picture.
    """
    kept = [face for face in faces if min(face[2:4]) >= LEAST]
    kept = kept[: 1 if how.face_count == "largest" else MOST]
    crops = []
    for left, top, wide, high, _ in kept:
        side = min(round(max(wide, high) * (1 + 2 * how.face_margin)), width, height)
        start_x, start_y = left + wide / 2 - side / 2, top + high / 2 - side / 2
        crops.append(Box(_place(start_x, side, width), _place(start_y, side, height), side, side))
    return list(dict.fromkeys(crops))


def _place(start: float, side: int, limit: int) -> int:
    return min(max(round(float(start)), 0), limit - side)
