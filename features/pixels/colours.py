"""Pixels of any mode into 8 bits of red, green and blue, strip by strip."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

from features.errors import ImageProblem

STRIP = 1 << 20
"""Pixels that are converted at a time: of 50 million no copy is made in any other mode."""
DEPTHS = (8, 12, 16)
"""Bits that wide pixels may use. 10 and 14, taken for the next of these, are dark, not black."""
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262
_LARGEST_SAMPLES = (281, 341)
_Pixels = npt.NDArray[np.uint8]


def is_wide(image: Image.Image) -> bool:
    """Whether a pixel is one whole number of more than 8 bits."""
    return image.mode == "I" or image.mode.startswith("I;16")


def has_deep_colours(image: Image.Image) -> bool:
    """Whether colours have 16 bits, of which Pillow keeps the upper 8; known until it loads."""
    return not is_wide(image) and ";16" in str(getattr(image, "tile", ""))


def check_deep_colours(image: Image.Image) -> None:
    """Raises `ImageProblem` where the upper 8 of 16 bits are black: the others are lost by now."""
    largest = max(band[1] for band in image.getextrema()[:3])  # type: ignore[index]
    if largest < 16:
        raise ImageProblem(
            "16 bits a colour, none above 4095 of 65535: black, or of 12 bits; save it with 8 bits"
        )


def paint_rgb(image: Image.Image, out: _Pixels) -> list[str]:
    """Fills `out`, `(height, width, 3)`, with a loaded image: transparency on white, wide pixels
    scaled to 8 bits. Returns notes.

    Raises `ImageProblem` for pixels whose range nobody knows.
    """
    paint, notes = _choose_paint(image)
    for strip, rows in _list_strips(image):
        out[rows] = paint(strip)
    return notes


def _choose_paint(image: Image.Image) -> tuple[Callable[[Image.Image], _Pixels], list[str]]:
    if image.mode == "F":
        raise ImageProblem("pixels of floating point, which have no fixed range")
    if is_wide(image):
        bits = find_depth(image)
        white = 2**bits - 1
        # Pillow clips at 255 instead: a picture turns white.
        levels = np.rint(np.arange(white + 1) * (255 / white)).astype(np.uint8)
        if image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0:  # type: ignore[attr-defined]
            levels = levels[::-1]  # 0 is white
        note = "16 bit" if bits == 16 else f"{bits} of 16 bit"
        return lambda strip: levels[np.asarray(strip)][..., None], [note]
    if image.has_transparency_data:
        return _lay_on_white, []
    return lambda strip: np.asarray(strip.convert("RGB")), []


def find_depth(image: Image.Image) -> int:
    """How many bits wide pixels use: as tags of a TIFF say, or the fewest that hold the brightest.

    A 16-bit file of values to 255, or a camera's 12 bits, would be black else.
    """
    extremes = [(strip.min(), strip.max()) for strip in map(_read_strip, _list_strips(image))]
    lowest, largest = min(low for low, _ in extremes), max(high for _, high in extremes)
    if lowest < 0 or largest > 65535:
        raise ImageProblem(
            f"32 bits a pixel, values {lowest} … {largest}: white is unknown; save it with 8 or 16"
        )
    fitting = [bits for bits in (*_list_tagged_depths(image), *DEPTHS) if largest < 2**bits]
    return fitting[0]


def _list_tagged_depths(image: Image.Image) -> list[int]:
    """Bits of a sample, and of the largest one where that is white: 255, 1023, 4095, …

    As TIFF 6.0 has it, the largest may as well be that of this very picture.
    """
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    bits = int(np.ravel(tags.get(_BITS_PER_SAMPLE, 16))[0])
    largest = [int(np.ravel(tags[tag])[0]) for tag in _LARGEST_SAMPLES if tag in tags]
    named = [v.bit_length() for v in largest if v >= 255 and v & (v + 1) == 0]
    return [*named, *([bits] if 8 < bits < 16 else [])]


def _list_strips(image: Image.Image) -> Iterator[tuple[Image.Image, slice]]:
    width, height = image.size
    rows = max(STRIP // width, 1)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        whole = rows >= height
        strip = image if whole else image.crop((0, top, width, bottom))
        yield strip, slice(top, bottom)


def _read_strip(part: tuple[Image.Image, slice]) -> npt.NDArray[np.integer]:
    return np.asarray(part[0])


def _lay_on_white(image: Image.Image) -> _Pixels:
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))
