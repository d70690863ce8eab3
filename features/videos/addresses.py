"""Addresses of pictures: a file, a frame of a video, a part of either: `clip.mp4#t=1.2`,
`photo.jpg#xywh=40,30,200,200`, `clip.mp4#t=1.2&xywh=40,30,200,200`.

Written as in Media Fragments URI 1.0 of the W3C: seconds from the first frame, to the millisecond;
left, top, width and height in pixels of the upright picture.
"""

import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from features.errors import ImageProblem

_TIME, _BOX = r"t=(?P<time>\d+(?:\.\d+)?)", r"xywh=(?P<box>\d+,\d+,\d+,\d+)"
_PART = re.compile(rf"(?P<file>.+)#(?:{_TIME}(?:&{_BOX})?|{_BOX.replace('box', 'own')})", re.DOTALL)


class Box(NamedTuple):
    """A part of a picture, in pixels."""

    left: int
    top: int
    width: int
    height: int


class Address(NamedTuple):
    """Where the pixels of a row are."""

    file: str
    time: float | None = None
    """Seconds; `None` for a picture that is a file."""
    box: Box | None = None
    """`None` for all of it."""

    @property
    def part(self) -> str:
        """What follows the name of the file; empty for the whole of it."""
        told = []
        if self.time is not None:
            told.append(f"t={format(self.time, '.3f').rstrip('0').rstrip('.')}")
        if self.box is not None:
            told.append(f"xywh={','.join(map(str, self.box))}")
        return f"#{'&'.join(told)}" if told else ""

    def __str__(self) -> str:
        return self.file + self.part


def cut_box(pixels: npt.NDArray[np.uint8], box: Box | None) -> npt.NDArray[np.uint8]:
    """A part of `(h, w, 3)`, as a view; for `None` all. Raises `ImageProblem` if it is outside."""
    if box is None:
        return pixels
    left, top, width, height = box
    found = pixels[top : top + height, left : left + width]
    if found.shape[:2] != (height, width):
        shape = f"{pixels.shape[1]} x {pixels.shape[0]}"
        raise ImageProblem(f"{shape} pixels, so there is no part {','.join(map(str, box))}")
    return found


def parse_address(text: str) -> Address:
    """What `str` of an address gave."""
    found = _PART.fullmatch(text) if "#" in text else None
    if not found:
        return Address(text)
    box = found["box"] or found["own"]
    return Address(
        found["file"],
        float(found["time"]) if found["time"] else None,
        Box(*map(int, box.split(","))) if box else None,
    )


def name_file(text: str) -> str:
    """The file of an address."""
    return parse_address(text).file
