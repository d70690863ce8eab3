"""Parts of a picture that are framed on its page."""

from dataclasses import dataclass

from features.videos.addresses import Box


@dataclass(frozen=True)
class PictureFrame:
    """In shares of the picture's sides."""

    left: float
    top: float
    width: float
    height: float


def frame_part(box: Box, height: int, width: int) -> PictureFrame:
    """A part of a picture of so many pixels, as far as it lies within."""
    left, top = max(box.left, 0), max(box.top, 0)
    right, bottom = min(box.left + box.width, width), min(box.top + box.height, height)
    return PictureFrame(left / width, top / height, (right - left) / width, (bottom - top) / height)
