"""A block of image files into facts, thumbnails and pixels: the work of one thread or process."""

import hashlib
import os
import zlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from features.core.files import name_place
from features.errors import ImageProblem
from features.pixels.decoding import Pixels, decode_picture
from features.pixels.facts import Scan, describe_image
from features.pixels.reading import read_inside
from features.pixels.thumbnails import SIDE, hash_thumbnails, shrink_grey, shrink_thumbnails
from features.settings.images import Images, Limits


@dataclass(frozen=True)
class ScannedBlock:
    """What a worker found; thumbnails and pixels are on the disk by then."""

    start: int
    scans: list[Scan]
    mtimes: list[int]
    hashes: Pixels
    checksum: int


def scan_file(
    root: Path, path: str, limits: Limits, images: Images, trusted: tuple[str, ...] = ()
) -> tuple[Scan, Pixels | None]:
    """Reads, checks and fully decodes one file: what is known, and its square of pixels."""
    try:
        content = read_inside(root, path, trusted)
        picture = decode_picture(content, limits, images)
        facts = describe_image(picture.header, path, picture.notes)
    except ImageProblem as problem:
        return Scan(str(problem)), None
    scan = Scan(
        problem="",
        width=picture.width,
        height=picture.height,
        bytes=len(content),
        equalized_bytes=picture.equalized_bytes,
        sha256=hashlib.sha256(content).hexdigest(),
        **facts,
    )
    return scan, picture.square


def scan_block(
    root: Path,
    paths: Sequence[str],
    start: int,
    limits: Limits,
    images: Images,
    thumbnails_path: Path,
    pixels_path: Path | None,
    trusted: tuple[str, ...] = (),
) -> ScannedBlock:
    """Reads and decodes a block of files; writes thumbnails and pixels from slot `start` on."""
    blank = np.zeros((images.size, images.size, 3), np.uint8)
    grey = np.zeros((len(paths), SIDE, SIDE), np.uint8)
    scans, mtimes, checksum = [], [], 0
    with ExitStack() as stack:
        pixels = None
        if pixels_path is not None:
            stack.enter_context(name_place(pixels_path))
            pixels = stack.enter_context(open(pixels_path, "r+b"))
            pixels.seek(start * blank.nbytes)
        for i, path in enumerate(paths):
            mtimes.append(read_state(os.path.join(root, path))[1])  # before the file is read
            scan, square = scan_file(root, path, limits, images, trusted)
            scans.append(scan)
            if square is not None:
                grey[i] = shrink_grey(square)
            if pixels is not None:  # one by one, while they are in the processor's cache
                content = (blank if square is None else np.ascontiguousarray(square)).data
                checksum = zlib.crc32(content, checksum)
                pixels.write(content)
    thumbnails = np.ascontiguousarray(shrink_thumbnails(grey))
    with name_place(thumbnails_path), open(thumbnails_path, "r+b") as file:
        file.seek(start * thumbnails[0].nbytes)
        file.write(thumbnails.data)
    checksum = zlib.crc32(thumbnails.data, checksum)
    return ScannedBlock(start, scans, mtimes, hash_thumbnails(grey), checksum)


def read_state(place: str) -> tuple[int, int]:
    """Size and modification time, by which a changed file is told."""
    try:
        state = os.stat(place)
    except OSError:
        return -1, -1
    return state.st_size, state.st_mtime_ns
