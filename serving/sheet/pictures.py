"""The picture and its maps as they stand in a page: `data:` addresses."""

import base64
import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from serving.sheet.covering import CoverMap
from serving.sheet.frames import PictureFrame
from stage2_ensemble.report.pictures import HEATS, encode_heat

WIDEST, SMALL = 640, 320
"""Longest side of the picture, and of those below maps, in pixels."""
QUALITY = 80
FULL = 0.5
"""Change of log-odds from which on the strongest place of a map is drawn at full strength: below it
a map stays faint, since nothing matters much."""


def encode_picture(
    pixels: npt.NDArray[np.uint8], side: int = WIDEST, frames: Sequence[PictureFrame] = ()
) -> str:
    """`(h, w, 3)` as WebP, no larger than it is, with `frames` drawn in."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    for frame in frames:
        _draw_frame(image, frame)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=QUALITY, method=4)
    return encode_webp(buffer.getvalue())


def _draw_frame(image: Image.Image, frame: PictureFrame) -> None:
    """White with a dark border: seen on any picture."""
    left, top = round(frame.left * image.width), round(frame.top * image.height)
    right = left + max(1, round(frame.width * image.width)) - 1
    bottom = top + max(1, round(frame.height * image.height)) - 1
    draw = ImageDraw.Draw(image)
    for inset, colour in enumerate(("black", "white", "white", "black")):
        if right - left >= 2 * inset and bottom - top >= 2 * inset:
            draw.rectangle(
                (left + inset, top + inset, right - inset, bottom - inset), outline=colour
            )


def encode_webp(content: bytes) -> str:
    """The address of a file's content."""
    return f"data:image/webp;base64,{base64.b64encode(content).decode()}"


def encode_map(cover_map: CoverMap) -> list[str]:
    """Transparent PNGs: places that speak for real, and places that speak for fake."""
    strength = cover_map.changes / max(FULL, float(np.abs(cover_map.changes).max()))
    sides = (np.clip(sign * strength, 0, 1) for sign in (-1, 1))
    drawn = (
        encode_heat(np.rint(255 * side).astype(np.uint8), colour)
        for side, colour in zip(sides, HEATS, strict=True)
    )
    return [address for address in drawn if address]
