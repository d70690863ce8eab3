"""A block of image files into facts, thumbnails and pixels: the work of one thread or process."""

import os
import zlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from features.duplicates import SIDE, STORED_SIDE, hash_thumbnails, shrink_thumbnails
from features.images import Pixels, Scan, scan_file
from features.images_params import Images, Limits
from features.manifest import Ids


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
    with open(thumbnails_path, "r+b") as file:
        file.seek(start * thumbnails[0].nbytes)
        file.write(thumbnails.data)
    checksum = zlib.crc32(thumbnails.data, checksum)
    return ScannedBlock(start, scans, mtimes, hash_thumbnails(grey), checksum)


def shrink_grey(square: Pixels) -> Pixels:
    """`(s, s, 3)` to `(64, 64)`, by means of boxes; whole ones take a third of the time."""
    image = Image.fromarray(np.ascontiguousarray(square))
    if len(square) % SIDE == 0:
        return np.asarray(image.reduce(len(square) // SIDE).convert("L"))
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX).convert("L"))


def read_state(place: str) -> tuple[int, int]:
    """Size and modification time, by which a changed file is told."""
    try:
        state = os.stat(place)
    except OSError:
        return -1, -1
    return state.st_size, state.st_mtime_ns


class Thumbnails:
    """Grey 32 x 32 thumbnails by row: `thumbnails[rows]` is `(k, 32, 32)` uint8."""

    def __init__(self, path: Path, slots: Ids) -> None:
        # An empty file cannot be mapped.
        flat: npt.NDArray[np.uint8] = (
            np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)
        )
        self._all, self._slots = flat.reshape(-1, STORED_SIDE, STORED_SIDE), slots

    def __len__(self) -> int:
        return len(self._slots)

    def __getitem__(self, rows: Ids) -> Pixels:
        return np.asarray(self._all[self._slots[rows]])
