"""One picture: a name and the way to its content."""

import io
from collections.abc import Callable, Iterator
from os import PathLike, fspath
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from features.errors import ImageProblem
from serving.reading.texts import spell_name

Content = bytearray | npt.NDArray[np.uint8] | Iterator[npt.NDArray[np.uint8]] | Path
"""Of a file, or pixels `(h, w, 3)`, or frames, each such pixels, or where a video lies."""
AnyPicture = str | PathLike[str] | bytes | bytearray | npt.NDArray[np.uint8] | Image.Image
"""A path, a file's content, pixels `(h, w, 3)` of RGB or `(h, w)` of grey, or Pillow's image."""


class GivenPicture(NamedTuple):
    """Something to label."""

    name: str
    load: Callable[[], Content]
    """Called once; raises `ImageProblem`."""
    is_unit: bool = False
    """It has frames, which are scored as one unit."""


def read_file(path: str | PathLike[str]) -> bytearray:
    """The content of a file anywhere; raises `ImageProblem`."""
    place = Path(path)
    try:
        if place.exists() and not place.is_file():
            raise ImageProblem("a folder, no file" if place.is_dir() else "no regular file")
        content = bytearray(place.read_bytes())
    except FileNotFoundError:
        raise ImageProblem("missing") from None
    except OSError as error:
        raise ImageProblem(f"cannot be read: {error.strerror}") from None
    return check_content(content)


def check_content(content: bytes | bytearray | None) -> bytearray:
    """That of a file; raises `ImageProblem` where there is none."""
    if not content:
        raise ImageProblem("empty file")
    return content if isinstance(content, bytearray) else bytearray(content)


def name_picture(picture: AnyPicture, position: int) -> GivenPicture:
    """A picture as people have it; one that has no path is called by its `position`.

    Raises `TypeError` for what is no picture.
    """
    if isinstance(picture, str | PathLike):
        path = fspath(picture)
        return GivenPicture(spell_name(path), lambda: read_file(path))
    if isinstance(picture, bytes | bytearray):
        content = bytearray(picture)
        return GivenPicture(str(position), lambda: content)
    if isinstance(picture, np.ndarray):
        pixels = check_given_pixels(picture)
        return GivenPicture(str(position), lambda: pixels)
    if isinstance(picture, Image.Image):
        image = picture
        return GivenPicture(str(position), lambda: _save_losslessly(image))
    raise TypeError(f"no picture: {type(picture).__name__}; a path, bytes, an array, or an image")


def check_given_pixels(array: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """`(h, w, 3)`; raises `TypeError` for other numbers than bytes, or another shape."""
    if array.dtype != np.uint8:
        raise TypeError(f"pixels are uint8 in 0 … 255, not {array.dtype}")
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] != 3:
        raise TypeError(f"pixels are (height, width, 3), not {array.shape}")
    return array


def _save_losslessly(image: Image.Image) -> bytearray:
    """As a file, so that transparency, palettes and depth are treated as those of files are."""
    buffer = io.BytesIO()
    lossless = "TIFF" if image.mode in ("CMYK", "LAB", "YCbCr") else "PNG"
    image.save(buffer, lossless)
    return bytearray(buffer.getvalue())
