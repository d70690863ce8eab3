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

LUMINANCE = np.array([77, 150, 29], np.float32)
"""256ths of red, green and blue in grey (ITU-R BT.601), as Pillow rounds them."""
LARGEST_RATIO = 16
"""Pixels a side of a box whose weighted sum, 255 * 16² * 256, float32 still holds exactly."""


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
    """`(s, s, 3)` to `(64, 64)`: luminance of the means of boxes, rounded half up.

    Whole boxes take 0.06 ms for 256 px, Pillow's 0.10. Their sums are whole numbers that float32
    holds, so every machine gives the same ones.
    """
    ratio, rest = divmod(len(square), SIDE)
    if rest or ratio > LARGEST_RATIO:
        image = Image.fromarray(np.ascontiguousarray(square))
        return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX).convert("L"))
    lines = square.reshape(SIDE, ratio, -1)
    sums = lines[:, 0].astype(np.uint16)
    for line in range(1, ratio):
        sums += lines[:, line]
    boxes = sums.reshape(SIDE, SIDE, ratio * 3).astype(np.float32) @ np.tile(LUMINANCE, ratio)
    half = 128 * ratio**2
    return np.asarray((boxes + half) / (2 * half), np.uint8)


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
