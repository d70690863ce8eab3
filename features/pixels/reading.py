"""Content of files, and of those in shards: only regular files inside the data root or a trusted
folder are opened."""

import functools
import hashlib
import io
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from features.core.files import digest_bytes
from features.core.manifest import Ids
from features.core.trusted import leads_into
from features.errors import ImageProblem
from features.pixels.decoding import decode_pixels
from features.pixels.opening import open_image
from features.settings.images import NO_LIMITS
from features.shards.names import AT, parse_member
from features.shards.opening import OpenedFile, open_packed
from features.videos.addresses import Address, cut_box, name_file, parse_address
from features.videos.frames import read_frames

OUTSIDE = "a link leads outside the data root, and into no folder of data.trusted"


class Content(NamedTuple):
    """An image file, and the sha256 by which the picture is known."""

    data: bytearray
    sha256: str


def read_content(root: Path, path: str, trusted: tuple[str, ...] = ()) -> Content:
    """The file at the address `path`, or a PNG of the pixels of a frame or a part.

    Raises `ImageProblem` as `read_inside`.
    """
    address = parse_address(path)
    if address.time is None:
        content = read_inside(root, address.file, trusted)
        digest = digest_part(digest_bytes(content), address)
        if address.box is None:
            return Content(content, digest)
        pixels = decode_pixels(content, open_image(content, NO_LIMITS)).pixels
    else:
        with open_inside(root, address.file, trusted) as file:
            digest = digest_part(hash_file(file), address)
            (frame,) = read_frames(file, [address.time], NO_LIMITS)
            pixels = frame.pixels
    png = io.BytesIO()
    part = np.ascontiguousarray(cut_box(pixels, address.box))
    Image.fromarray(part).save(png, "PNG", compress_level=1)
    return Content(bytearray(png.getvalue()), digest)


def digest_picture(root: Path, path: str, trusted: tuple[str, ...] = ()) -> str:
    """The sha256 that `read_content` gives; nothing is decoded."""
    address = parse_address(path)
    with open_inside(root, address.file, trusted) as file:
        return digest_part(hash_file(file), address)


def hash_file(file: OpenedFile) -> str:
    """sha256 of all of it."""
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


def measure_file(file: OpenedFile) -> int:
    """Its bytes."""
    return file.seek(0, os.SEEK_END)


def digest_part(sha256: str, address: Address) -> str:
    """By which a picture is known: that of its file, or of that and which part it is."""
    return digest_bytes(f"{sha256}{address.part}".encode()) if address.part else sha256


def read_inside(root: Path, path: str, trusted: tuple[str, ...] = ()) -> bytearray:
    """The file's content; raises `ImageProblem` as `open_inside`."""
    with open_inside(root, path, trusted) as file:
        content = bytearray(measure_file(file))
        file.seek(0)
        size = file.readinto(content)
    if size != len(content):
        raise ImageProblem("it changed while it was read")
    return content


@contextmanager
def open_inside(root: Path, path: str, trusted: tuple[str, ...] = ()) -> Iterator[OpenedFile]:
    """The file, or one in a shard, to read; raises `ImageProblem` as `locate_file`, or if it is
    empty."""
    member = parse_member(path)
    place, state = locate_file(root, member.shard if member else path, trusted)
    try:
        if member:
            file: OpenedFile = open_packed(place, state, member)
        else:
            # Both flags matter only if somebody swaps the file right now.
            file = os.fdopen(os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")
        with file:
            if not measure_file(file):
                raise ImageProblem("empty file")
            file.seek(0)
            yield file
    except OSError as error:
        raise ImageProblem(f"cannot be read: {error.strerror}") from error


def locate_file(root: Path, path: str, trusted: tuple[str, ...] = ()) -> tuple[str, os.stat_result]:
    """Where the file is, without links, and its state; raises `ImageProblem` for what is no regular
    file inside `root`.

    Links are followed as long as they stay inside or lead into a folder of `trusted`, as
    `find_trusted` gives them.
    """
    folder, name = os.path.split(path)
    try:
        place = os.path.join(_resolve_folder(root.absolute(), folder, trusted), name)
        state = os.lstat(place)
        if stat.S_ISLNK(state.st_mode):
            place = _resolve_inside(root, path, trusted)
            state = os.lstat(place)
    except FileNotFoundError:
        raise ImageProblem("missing") from None
    except OSError as error:
        raise ImageProblem(f"cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(state.st_mode):
        raise ImageProblem("no regular file")
    return place, state


def read_state(place: str) -> tuple[int | None, int]:
    """Size and modification time of the file at an address, by which a changed one is told.

    In a shard it has the time of that; -1 where there is none, `None` for a size that nothing tells
    but the content, as in a table.
    """
    file = name_file(place)
    member = parse_member(file)
    try:
        state = os.stat(member.shard if member else file)
    except OSError:
        return -1, -1
    if member is None:
        return state.st_size, state.st_mtime_ns
    if member.kind != AT:
        return None, state.st_mtime_ns
    is_whole = member.first + member.second <= state.st_size
    return member.second if is_whole else -1, state.st_mtime_ns


def order_reads(paths: Sequence[str]) -> Ids:
    """`(n,)` positions by which each shard is read from its start to its end, once; what is in none
    comes first, as it stands."""
    shards: dict[str, int] = {}
    keys = np.zeros((3, len(paths)), np.int64)
    for i, path in enumerate(paths):
        if "&member=" in path and (member := parse_member(name_file(path))):
            number = shards.setdefault(member.shard, len(shards) + 1)
            keys[:, i] = number, member.first, member.second
    return np.lexsort(keys[::-1])


@functools.lru_cache(maxsize=4096)  # half a million files lie in a few folders
def _resolve_folder(root: Path, folder: str, trusted: tuple[str, ...]) -> str:
    return _resolve_inside(root, folder, trusted)


def _resolve_inside(root: Path, path: str, trusted: tuple[str, ...]) -> str:
    try:
        full = (root / path).resolve()
    except RuntimeError:  # up to Python 3.12
        raise ImageProblem("a link leads to itself") from None
    if not full.is_relative_to(root.resolve()) and not leads_into(full, trusted):
        raise ImageProblem(OUTSIDE)
    return str(full)
