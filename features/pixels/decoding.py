"""The content of an image file into pixels, and those into the square that networks see."""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from features.errors import DeviceMemoryError, ImageProblem
from features.pixels.colours import check_deep_colours, has_deep_colours, paint_rgb
from features.pixels.kernels import Kernels, find_kernels
from features.pixels.opening import name_format, open_image, report_damage
from features.runtime.memory import measure_free_memory, take_turn
from features.settings.images import NO_LIMITS, Images, Limits
from features.videos.addresses import Box, cut_box

# Odd palettes and EXIF blocks are noted in the manifest; Pillow's warnings name no file.
warnings.filterwarnings("ignore", module=r"PIL\.")
# Without it `find_kernels` takes Pillow's, which gives the same pixels.
warnings.filterwarnings("ignore", "The image decoding and encoding capabilities of TorchVision")

Pixels = npt.NDArray[np.uint8]
Made = TypeVar("Made")
Change = Callable[[Pixels], Pixels]
"""Of a file's pixels, `(h, w, 3)`, before they are resized; their size may change."""
EQUALIZED = {"format": "JPEG", "quality": 90, "subsampling": 2}
"""How `images.equalize` saves every image: as most cameras and web sites do."""
PIXEL_BYTES = {"JPEG": 12, "WEBP": 18, "AVIF": 12, "JPEG2000": 21}
"""Bytes a pixel at the peak of decoding, as measured; 8 for other formats."""
_LESS_MEMORY = "Free some, or lower data.max_pixels, which quarantines it."
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Decoded:
    """One picture, `(height, width, 3)`, and in words what was done to it."""

    pixels: Pixels
    notes: list[str]


@dataclass(frozen=True)
class Picture:
    """A decoded file: its header, its size upright, and its square of pixels.

    `equalized_bytes` is the size of the re-encoded square, 0 without `images.equalize`.
    """

    header: Image.Image
    width: int
    height: int
    notes: list[str]
    square: Pixels
    equalized_bytes: int


def decode_square(
    content: bytearray,
    images: Images,
    kernels: Kernels | None = None,
    change: Change | None = None,
) -> Pixels:
    """`(size, size, 3)`, the same to the bit wherever it is decoded. Raises `ImageProblem`."""
    return decode_picture(content, NO_LIMITS, images, kernels, change=change).square


def decode_picture(
    content: bytearray,
    limits: Limits,
    images: Images,
    kernels: Kernels | None = None,
    box: Box | None = None,
    change: Change | None = None,
) -> Picture:
    """Decodes, takes the part in `box`, and resizes; pictures that take more memory than a worker's
    share in turn.

    `kernels`: those of `find_kernels`, unless others are given; the pixels are the same. `change`:
    what happens to the file's pixels in between.

    Raises `ImageProblem`, or `DeviceMemoryError` where the machine has too little for this size.
    """
    header = open_image(content, limits)

    def make() -> Picture:
        decoded = decode_pixels(content, header, kernels)
        pixels = cut_box(decoded.pixels, box)
        height, width = pixels.shape[:2]
        pixels = pixels if change is None else change(pixels)
        square, equalized_bytes = make_square(pixels, images, kernels)
        return Picture(header, width, height, decoded.notes, square, equalized_bytes)

    return _make_in_turn(header, len(content), images, make)


def decode_whole(content: bytearray, limits: Limits, images: Images) -> Pixels:
    """`(h, w, 3)`, upright. Raises as `decode_picture`."""
    return decode_into(content, limits, images, lambda pixels: pixels)


def decode_into(
    content: bytearray,
    limits: Limits,
    images: Images,
    make: Callable[[Pixels], Made],
    kernels: Kernels | None = None,
) -> Made:
    """What `make` makes of the picture, `(h, w, 3)`, upright. As `decode_picture` in all else."""
    header = open_image(content, limits)

    def decode() -> Made:
        return make(decode_pixels(content, header, kernels).pixels)

    return _make_in_turn(header, len(content), images, decode)


def decode_unsquared(
    content: bytearray,
    images: Images,
    longest: int | None,
    change: Change | None = None,
) -> Pixels:
    """`(h, w, 3)` in the picture's own shape, its longest side `longest`, or as it is (`None`).

    As `decode_picture` in all else.
    """

    def make(pixels: Pixels) -> Pixels:
        pixels = pixels if change is None else change(pixels)
        height, width = fit_shape(pixels.shape[0], pixels.shape[1], longest)
        return reshape_picture(pixels, height, width, images.equalize)[0]

    return decode_into(content, NO_LIMITS, images, make)


def fit_shape(height: int, width: int, longest: int | None) -> tuple[int, int]:
    """Height and width of a picture whose longest side is `longest`, or as it is (`None`)."""
    if longest is None:
        return height, width
    most = max(height, width)
    height, width = (max(1, (2 * side * longest + most) // (2 * most)) for side in (height, width))
    return height, width


def limit_shape(height: int, width: int, most: int | None) -> tuple[int, int]:
    """The same where the longest side is at most `most`; smaller pictures keep their shape."""
    if most is None or max(height, width) <= most:
        return height, width
    return fit_shape(height, width, most)


def _make_in_turn(header: Image.Image, size: int, images: Images, make: Callable[[], Made]) -> Made:
    """What `make` makes of a file of `size` bytes, with as much memory as that takes."""
    needed = estimate_memory(header, size)
    try:
        with take_turn(needed, Path(images.store_dir) / "large-picture.lock"):
            return make()
    except MemoryError:
        width, height = header.size
        if measure_free_memory() > needed:
            raise ImageProblem("does not decode: it asks for more memory than its size") from None
        advice = f"A picture of {width} x {height} pixels takes {needed / 1e9:.1f} GB to decode."
        raise DeviceMemoryError("this machine", f"{advice} {_LESS_MEMORY}") from None


def estimate_memory(header: Image.Image, size: int) -> int:
    """Bytes that it takes at most to decode a file of `size` bytes."""
    width, height = header.size
    return width * height * PIXEL_BYTES.get(name_format(header), 8) + 3 * size


@report_damage()
def decode_pixels(
    content: bytearray, image: Image.Image, kernels: Kernels | None = None
) -> Decoded:
    """First frame, upright, transparency on white, 16 bit scaled to 8. Raises `ImageProblem`.

    Decodes fully (`verify` misses truncated files), and before anything else is asked: Pillow
    decodes a PNG to look for its EXIF block, and what is wrong with the pixels is lost there. Plain
    JPEGs go through `kernels`, which hand their pixels to the resizing without a copy.
    """
    if name_format(image) == "JPEG" and image.mode in ("RGB", "L"):
        pixels = (kernels or find_kernels()).decode_jpeg(content)
        orientation = read_orientation(image)
        return Decoded(_turn(pixels, orientation or 1), _note_turn(orientation))
    is_turned = image.format == "TIFF"  # Pillow turns it upright as it decodes
    orientation = read_orientation(image) if is_turned else None
    is_deep = has_deep_colours(image)
    image.load()
    if is_deep:
        check_deep_colours(image)
    if not is_turned:
        orientation = read_orientation(image)
    pixels, lying = make_canvas(image.size, 1 if is_turned else orientation or 1)
    notes = paint_rgb(image, lying)
    return Decoded(pixels, [*notes, *_note_turn(orientation)])


def read_orientation(image: Image.Image) -> int | None:
    """The EXIF orientation 1 … 8 (1 without such a block), `None` if the block is broken."""
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # a broken block raises anything; the pixels are sound
        return None
    return int(found) if found in range(1, 9) else 1


def _note_turn(orientation: int | None) -> list[str]:
    return {None: ["broken EXIF"], 1: []}.get(orientation, ["rotated"])


def _turn(pixels: Pixels, orientation: int) -> Pixels:
    """A view of `pixels` that stands upright."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def make_canvas(size: tuple[int, int], orientation: int) -> tuple[Pixels, Pixels]:
    """An empty upright picture for a file of `size`, and a view of it that lies as the file."""
    width, height = size
    shape = (width, height, 3) if orientation >= 5 else (height, width, 3)
    pixels = np.empty(shape, np.uint8)
    return pixels, _turn(pixels, {6: 8, 8: 6}.get(orientation, orientation))


def make_square(
    pixels: Pixels, images: Images, kernels: Kernels | None = None
) -> tuple[Pixels, int]:
    """`(h, w, 3)` as the networks see it, `(size, size, 3)`, and the bytes of the equalised file.

    With `images.equalize` the square is saved as every other one is, and decoded again.
    """
    return reshape_picture(pixels, images.size, images.size, images.equalize, kernels)


def reshape_picture(
    pixels: Pixels, height: int, width: int, equalize: bool, kernels: Kernels | None = None
) -> tuple[Pixels, int]:
    """`(height, width, 3)` of `(h, w, 3)`, and the bytes of the equalised file, 0 without one."""
    kernels = kernels or find_kernels()
    fits = pixels.shape[:2] == (height, width)
    resized = pixels if fits else kernels.resize(pixels, height, width)
    if not equalize:
        return resized, 0
    buffer = io.BytesIO()
    Image.fromarray(resized).save(buffer, **EQUALIZED)  # type: ignore[arg-type]
    content = bytearray(buffer.getvalue())
    return kernels.decode_jpeg(content), len(content)
