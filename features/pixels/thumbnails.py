"""Grey thumbnails of pictures, and the hashes that near-duplicates are found by."""

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.fft import dct

from features.caching.shard_files import ShardFiles, ShardReader
from features.core.manifest import Ids

HASH_BITS = 256
Hashes = npt.NDArray[np.uint8]
SIDE, STORED_SIDE = 64, 32
"""Pixels a side of the thumbnail that is hashed, and of the one that is stored."""
Pixels = npt.NDArray[np.uint8]
BLOCK = 4096  # thumbnails, or pairs of them, in memory at a time
LUMINANCE = np.array([77, 150, 29], np.float32)
"""256ths of red, green and blue in grey (ITU-R BT.601), as Pillow rounds them."""
LARGEST_RATIO = 16
"""Pixels a side of a box whose weighted sum, 255 * 16² * 256, float32 still holds exactly."""


def hash_thumbnails(thumbnails: Pixels) -> Hashes:
    """`(n, 32)` perceptual hashes of `(n, 64, 64)` grey thumbnails: 256 bits, packed.

    The bits say which of the 16 × 16 lowest DCT-II coefficients lie above their median: pHash, bit
    for bit `imagehash.phash(image, hash_size=16)`. Raises `ValueError` on another shape or type.
    """
    check_pixels(thumbnails, SIDE)
    side = round(HASH_BITS**0.5)
    hashes = np.empty((len(thumbnails), HASH_BITS // 8), np.uint8)
    for begin in range(0, len(hashes), BLOCK // 32):
        block = slice(begin, begin + BLOCK // 32)
        columns = dct(thumbnails[block].astype(np.float64), axis=1)[:, :side]
        low = dct(columns, axis=2)[:, :, :side].reshape(-1, HASH_BITS)
        hashes[block] = np.packbits(low > np.median(low, axis=1, keepdims=True), axis=1)
    return hashes


def shrink_thumbnails(thumbnails: Pixels) -> Pixels:
    """`(n, 32, 32)` means of 2 × 2 pixels of `(n, 64, 64)`, rounded half up: what is stored.

    Raises `ValueError` on another shape or type.
    """
    check_pixels(thumbnails, SIDE)
    lines = np.add(thumbnails[:, ::2], thumbnails[:, 1::2], dtype=np.uint16)
    sums = lines[:, :, ::2] + lines[:, :, 1::2]
    return np.asarray((sums + 2) // 4, dtype=np.uint8)


def check_pixels(pixels: Pixels, side: int) -> None:
    if pixels.ndim != 3 or pixels.shape[1:] != (side, side) or pixels.dtype != np.uint8:
        found = f"{pixels.dtype} {pixels.shape}"
        raise ValueError(f"thumbnails are {found}, not uint8 (n, {side}, {side})")


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


class Thumbnails:
    """Grey 32 x 32 thumbnails by row: `thumbnails[rows]` is `(k, 32, 32)` uint8."""

    def __init__(self, files: ShardFiles, places: Ids) -> None:
        self._reader, self._places = ShardReader(files), places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, rows: Ids) -> Pixels:
        found = self._reader.take(self._places[rows], STORED_SIDE**2)
        return found.reshape(-1, STORED_SIDE, STORED_SIDE)
