"""What sites and people do to a picture, one step each: at a strength that is given.

Pixels are uint8 `(h, w, 3)` of any size and stay whole: what comes back may have another size, of
at least `LEAST_SIDE`. Codecs and kernels are Pillow's, which let other threads work meanwhile.
"""

import io
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageFilter

from features.pixels.decoding import limit_shape

Pixels = npt.NDArray[np.uint8]
Kernel = Image.Resampling
Chroma = Literal["4:4:4", "4:2:2", "4:2:0"]
LEAST_SIDE = 16
"""Smaller ones are told apart by nothing, and no codec is asked about them."""
LARGEST_WEBP = 16_383
"""Side, by its format."""
WEBP_EFFORT = 2
"""Of 0 … 6: a third of the time of Pillow's 4, for files that are a few percent larger."""
CHROMA: dict[Chroma, int] = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}
"""Pillow's numbers."""


def save_jpeg(pixels: Pixels, quality: int, chroma: Chroma = "4:2:0") -> Pixels:
    """Saved at a quality of libjpeg, 1 … 100, and read again."""
    return _save(pixels, format="JPEG", quality=quality, subsampling=CHROMA[chroma])


def save_webp(pixels: Pixels, quality: int) -> Pixels:
    """Saved as lossy WebP, 0 … 100, and read again; what is too large for it stays as it is."""
    if max(pixels.shape) > LARGEST_WEBP:
        return pixels
    return _save(pixels, format="WEBP", quality=quality, method=WEBP_EFFORT)


def resize_picture(pixels: Pixels, factor: float, kernel: Kernel) -> Pixels:
    """Both sides times `factor`, antialiased where they get smaller unless it is `NEAREST`."""
    height, width = (max(LEAST_SIDE, round(side * factor)) for side in pixels.shape[:2])
    return np.asarray(Image.fromarray(pixels).resize((width, height), kernel))


def limit_side(pixels: Pixels, side: int, kernel: Kernel = Kernel.LANCZOS) -> Pixels:
    """The longest side made `side`; smaller pictures stay as they are, as sites do it."""
    height, width = limit_shape(pixels.shape[0], pixels.shape[1], side)
    if (height, width) == pixels.shape[:2]:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), kernel))


def blur_picture(pixels: Pixels, sigma: float) -> Pixels:
    """Gaussian, `sigma` in pixels, by three box filters."""
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(sigma)))


def add_grain(pixels: Pixels, std: float, random: np.random.Generator) -> Pixels:
    """Independent normal noise of each pixel and colour, `std` in grey levels."""
    noise = random.standard_normal(pixels.shape, np.float32)
    noise *= std
    noise += pixels
    return np.clip(np.rint(noise, out=noise), 0, 255, out=noise).astype(np.uint8)


def recolour(pixels: Pixels, brightness: float, contrast: float, saturation: float) -> Pixels:
    """Factors, 1 for no change, in this order."""
    image = Image.fromarray(pixels)
    image = ImageEnhance.Brightness(image).enhance(brightness)
    image = ImageEnhance.Contrast(image).enhance(contrast)
    return np.asarray(ImageEnhance.Color(image).enhance(saturation))


def frame(pixels: Pixels, margins: tuple[int, int, int, int], grey: int, bar: int) -> Pixels:
    """As on a screenshot: margins (top, right, bottom, left) of one grey, and across the top of
    them a bar of another, `bar` pixels high.
    """
    top, right, bottom, left = margins
    height, width = pixels.shape[:2]
    framed = np.full((height + top + bottom, width + left + right, 3), grey, np.uint8)
    framed[: min(bar, top)] = 255 - grey
    framed[top : top + height, left : left + width] = pixels
    return framed


def cut_rectangle(pixels: Pixels, top: int, left: int, height: int, width: int) -> Pixels:
    """A box of the picture; where `top` or `left` is no multiple of 8, off the grid of a JPEG."""
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])


def _save(pixels: Pixels, **how: object) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, **how)  # type: ignore[arg-type]
    with Image.open(file, formats=[str(how["format"])]) as image:
        return np.asarray(image.convert("RGB"))
