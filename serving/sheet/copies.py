"""One picture as it may reach somebody else: saved again, made smaller, photographed off a screen.

What is measured is whether the answer stays, so each copy is made from the decoded picture and
read as any other.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from PIL import Image

from features.pixels.kernels import PLAIN
from serving.reading.pictures import GivenPicture

Pixels = npt.NDArray[np.uint8]
SCREEN_WIDTH, SCREEN_BORDER = 1080, 60
"""Pixels: of a usual telephone, and what a viewer leaves empty around a picture."""
SCREEN_QUALITY = 85


@dataclass(frozen=True)
class CopyKind:
    """A change of pixels `(h, w, 3)`."""

    name: str
    change: Callable[[Pixels], Pixels]


def save_as_jpeg(pixels: Pixels, quality: int) -> Pixels:
    """Saved with half the colours, as most programs do, and decoded again."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=2)
    return PLAIN.decode_jpeg(bytearray(buffer.getvalue()))


def scale_picture(pixels: Pixels, factor: float) -> Pixels:
    """By Lanczos' filter; no side gets shorter than a pixel."""
    height, width = (max(1, round(side * factor)) for side in pixels.shape[:2])
    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(image)


def take_screenshot(pixels: Pixels) -> Pixels:
    """As wide as a screen shows it, in a white border."""
    shown = scale_picture(pixels, (SCREEN_WIDTH - 2 * SCREEN_BORDER) / pixels.shape[1])
    border = (SCREEN_BORDER, SCREEN_BORDER)
    return np.pad(shown, (border, border, (0, 0)), constant_values=255)


def send_screenshot(pixels: Pixels) -> Pixels:
    """The screenshot as a messenger saves it."""
    return save_as_jpeg(take_screenshot(pixels), SCREEN_QUALITY)


COPIES = (
    *(CopyKind(f"JPEG {q}", partial(save_as_jpeg, quality=q)) for q in (90, 75, 50)),
    *(CopyKind(f"scaled to {100 * f:g} %", partial(scale_picture, factor=f)) for f in (0.75, 0.5)),
    CopyKind("screenshot (PNG)", take_screenshot),
    CopyKind(f"screenshot (JPEG {SCREEN_QUALITY})", send_screenshot),
)


def list_copies(pixels: Pixels) -> list[GivenPicture]:
    """Each made when it is read, so that few are in memory."""
    return [GivenPicture(copy.name, partial(copy.change, pixels)) for copy in COPIES]
