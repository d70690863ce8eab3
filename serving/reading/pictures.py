"""One picture: a name and the way to its content."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from os import PathLike, fspath
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt
from PIL import Image

from features.core.files import digest_bytes
from features.errors import ImageProblem
from serving.reading.given_images import paint_image
from serving.reading.texts import spell_name

Content = bytearray | npt.NDArray[np.uint8] | Iterator[npt.NDArray[np.uint8]] | Path
"""Of a file, or pixels `(h, w, 3)`, or frames, each such pixels, or where a video lies."""
AnyPicture = str | PathLike[str] | bytes | bytearray | npt.NDArray[np.uint8] | Image.Image
"""A path, a file's content, pixels `(h, w, 3)` of RGB or `(h, w)` of grey, or Pillow's image."""
LARGEST_FILE = 1 << 30
"""Bytes of a picture's file: the largest picture that is decoded has fewer, however it is saved."""


class GivenPicture(NamedTuple):
    """Something to label."""

    name: str
    load: Callable[[], Content]
    """Called once; raises `ImageProblem`."""
    is_unit: bool = False
    """It has frames, which are scored as one unit."""
    held: int = 0
    """Bytes of it that are in memory before it is loaded."""
    state: str = ""
    """As `tell_file`; empty where it is in no file, or that is missing."""


def tell_file(path: str | PathLike[str]) -> str:
    """What tells a file from others and from what it was: its place, its size and its time."""
    try:
        state = os.stat(path)
        facts = f"{os.path.realpath(path)}\0{state.st_size}\0{state.st_mtime_ns}"
    except (OSError, ValueError):
        return ""
    return digest_bytes(os.fsencode(facts))[:16]


def read_file(path: str | PathLike[str]) -> bytearray:
    """The content of a file anywhere; raises `ImageProblem`."""
    try:
        state = os.stat(path)
        if not stat.S_ISREG(state.st_mode):
            is_folder = stat.S_ISDIR(state.st_mode)
            raise ImageProblem("a folder, no file" if is_folder else "no regular file")
        check_size(state.st_size)
        with report_short_memory(state.st_size), open(path, "rb") as file:
            content = bytearray(state.st_size)
            del content[file.readinto(content) :]
    except FileNotFoundError:
        raise ImageProblem("missing") from None
    except OSError as error:
        raise ImageProblem(f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise ImageProblem("no name of a file") from None
    return check_content(content)


def check_content(content: bytes | bytearray | None) -> bytearray:
    """That of a file; raises `ImageProblem` where there is none, or too much."""
    if not content:
        raise ImageProblem("empty file")
    check_size(len(content))
    return content if isinstance(content, bytearray) else bytearray(content)


def check_size(size: int) -> None:
    """Raises `ImageProblem` for a file of more bytes than a picture has."""
    if size > LARGEST_FILE:
        raise ImageProblem(f"a file of {size / 2**30:.1f} GiB, above {LARGEST_FILE >> 30} GiB")


@contextmanager
def report_short_memory(size: int) -> Iterator[None]:
    """Where memory does not suffice for a file of `size` bytes, that is an `ImageProblem`."""
    try:
        yield
    except MemoryError:
        raise ImageProblem(f"no memory for a file of {size / 1e6:.0f} MB") from None


def name_picture(picture: AnyPicture, position: int) -> GivenPicture:
    """A picture as people have it; one that has no path is called by its `position`.

    Pixels and images are taken as they are now: they may change before they are loaded. Raises
    `TypeError` for what is no picture.
    """
    if isinstance(picture, str | PathLike):
        path = fspath(picture)
        return GivenPicture(spell_name(path), partial(read_file, path))
    content: Content
    if isinstance(picture, bytes | bytearray):
        content = bytearray(picture)
    elif isinstance(picture, np.ndarray):
        content = check_given_pixels(picture).copy()
    elif isinstance(picture, Image.Image):
        try:
            content = paint_image(picture)
        except ImageProblem as problem:
            return refuse_picture(str(position), problem)
    else:
        what = f"no picture: {type(picture).__name__}"
        raise TypeError(f"{what}; a path, bytes, an array, or an image")
    held = content.nbytes if isinstance(content, np.ndarray) else len(content)
    return GivenPicture(str(position), lambda: content, held=held)


def refuse_picture(name: str, problem: ImageProblem) -> GivenPicture:
    """One whose row says what is wrong with it."""

    def load() -> NoReturn:
        raise problem

    return GivenPicture(name, load)


def is_one_picture(pictures: object) -> bool:
    """Whether somebody gave a picture where several are asked for."""
    if isinstance(pictures, np.ndarray):
        return pictures.dtype == np.uint8 and pictures.ndim in (2, 3)
    return isinstance(pictures, str | PathLike | bytes | bytearray | Image.Image)


def check_given_pixels(array: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """`(h, w, 3)`; raises `TypeError` for other numbers than bytes, or another shape."""
    if array.dtype != np.uint8:
        raise TypeError(f"pixels are uint8 in 0 … 255, not {array.dtype}")
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] != 3:
        raise TypeError(f"pixels are (height, width, 3), not {array.shape}")
    return array
