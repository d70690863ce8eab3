"""A block of image files into facts, thumbnails and pixels: the work of one thread or process."""

import os
import zlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from features.core.files import name_place
from features.pixels.decoding import Pixels, Scan, scan_file
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


def scan_block(
    root: Path,
    paths: Sequence[str],
    start: int,
    limits: Limits,
    images: Images,
    thumbnails_path: Path,
    pixels_path: Path | None,
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
            scan, square = scan_file(root, path, limits, images)
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
