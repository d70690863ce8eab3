"""Square crops around faces, and which parts of a picture are rows."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from features.settings.images import Faces
from features.videos.addresses import Box

Floats = npt.NDArray[np.float32]
LEAST = 16
"""Pixels of the shorter side of a face below which there is nothing to see."""
MOST = 8
"""Faces of one picture, largest first."""


class PicturePart(NamedTuple):
    """What becomes a row of a picture."""

    box: Box | None
    """`None`: all of it."""
    face: Floats | None
    """`(4,)` left, top, width and height of the face that it shows, in pixels of the picture;
    `None` where none was found."""


def choose_parts(faces: Floats, width: int, height: int, how: Faces) -> list[PicturePart]:
    """The crops of `choose_crops`, in place of the picture or after it; without any, the picture.

    The whole shows the largest face.
    """
    crops = choose_crops(faces, width, height, how)
    if not crops:
        return [PicturePart(None, None)]
    whole = [PicturePart(None, crops[0].face)] if how.faces == "both" else []
    return whole + crops


def choose_crops(faces: Floats, width: int, height: int, how: Faces) -> list[PicturePart]:
    """Of `(k, 5)` faces, largest first, in a picture of `width` x `height` pixels.

    Squares with `how.face_margin` on each side, moved and shrunk to lie within the picture.
    """
    kept = [face[:4] for face in faces if min(face[2:4]) >= LEAST]
    crops: dict[Box, Floats] = {}
    for face in kept[: 1 if how.face_count == "largest" else MOST]:
        left, top, wide, high = face.tolist()
        side = min(round(max(wide, high) * (1 + 2 * how.face_margin)), width, height)
        start_x, start_y = left + wide / 2 - side / 2, top + high / 2 - side / 2
        box = Box(_place(start_x, side, width), _place(start_y, side, height), side, side)
        crops.setdefault(box, face)
    return [PicturePart(box, face) for box, face in crops.items()]


def write_shares(face: Floats, within: Box) -> str:
    """`0.25,0.125,0.5,0.75`: where a face is, in shares of the sides of a part of its picture."""
    sides = np.array([within.width, within.height] * 2, np.float64)
    shares = (face - [within.left, within.top, 0, 0]) / sides
    return ",".join(format(share, ".4g") for share in shares)


def _place(start: float, side: int, limit: int) -> int:
    return min(max(round(start), 0), limit - side)
