"""What takes most of the time of decoding: by torch where it pays to load it, or without it.

Both give the same pixels to the bit and refuse the same files in the same words, so labelling needs
no torch, and `prepare` loads it for large data alone.
"""

import functools
import io
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from features.pixels.resizing import resize_pixels_plainly

Pixels = npt.NDArray[np.uint8]
DecodeJpeg = Callable[[bytearray], Pixels]
Resize = Callable[[Pixels, int, int], Pixels]
LOADING_SECONDS = 4.0
"""Of CPU time, that torch and torchvision take to load."""
WORTH = 100_000_000
"""Bytes of JPEGs that plain kernels take as long for as torch's and loading them do."""
_END = b"\xff\xd9"
_SCAN = 0xDA
_BARE = (0x00, 0x01, *range(0xD0, 0xD8))
"""Markers without a length."""


class Kernels(NamedTuple):
    """How a plain JPEG becomes pixels, and how these get another size."""

    decode_jpeg: DecodeJpeg
    """A file's content to `(h, w, 3)`."""
    resize: Resize
    """`(h, w, 3)` to `(height, width, 3)`, bilinear and antialiased."""


class _Trial:
    """Plain kernels that count their time: torch's are loaded once these took as long as loading.

    So a process takes at most twice the time of the better choice, without knowing how much work
    there will be.
    """

    def __init__(self, plain: Kernels) -> None:
        self._plain = plain
        self._seconds = 0.0
        self.is_held = False
        """It stays with plain ones."""
        self.kernels = Kernels(self._decode_jpeg, self._resize)

    @property
    def is_over(self) -> bool:
        return self._seconds > LOADING_SECONDS and not self.is_held

    def _decode_jpeg(self, content: bytearray) -> Pixels:
        start = time.thread_time()
        try:
            return self._plain.decode_jpeg(content)
        finally:
            self._seconds += time.thread_time() - start

    def _resize(self, pixels: Pixels, height: int, width: int) -> Pixels:
        start = time.thread_time()
        resized = self._plain.resize(pixels, height, width)
        self._seconds += time.thread_time() - start
        return resized


def find_kernels() -> Kernels:
    """Those of torch where it is loaded, or installed and worth it; else Pillow's and numpy's."""
    if "torch" in sys.modules or _TRIAL.is_over:
        return load_torch_kernels() or PLAIN
    return _TRIAL.kernels


def settle_kernels(file_bytes: float) -> None:
    """Decides in the first task of a process of joblib's, which will decode so many bytes of files.

    What it loads later joblib takes for a leak, and ends it: whatever it begins in its place would
    decode plainly, load torch, and be ended, again and again.
    """
    if file_bytes >= WORTH:
        load_torch_kernels()
    else:
        _TRIAL.is_held = True


@functools.cache
def load_torch_kernels() -> Kernels | None:
    """torch's and torchvision's, twice as fast in all; `None` where torch is not installed."""
    try:
        import torch
        from torch.nn.functional import interpolate
    except ImportError:
        return None

    def resize(pixels: Pixels, height: int, width: int) -> Pixels:
        # A view that was turned is no array of torch's.
        is_plain = pixels.flags.writeable and pixels.flags.c_contiguous
        planes = torch.from_numpy(pixels if is_plain else pixels.copy())
        # Permuting after adding the batch axis keeps the strides of channels_last, the fast path.
        planes = planes[None].permute(0, 3, 1, 2)
        small = interpolate(planes, (height, width), mode="bilinear", antialias=True)
        resized: Pixels = small[0].permute(1, 2, 0).numpy()
        return resized

    try:
        from torchvision.io import ImageReadMode, decode_jpeg
    except ImportError:  # it is removed one day
        return Kernels(_decode_plainly, resize)

    def decode(content: bytearray) -> Pixels:
        try:
            planes = decode_jpeg(torch.frombuffer(content, dtype=torch.uint8), ImageReadMode.RGB)
        except RuntimeError:
            return _decode_plainly(content)  # whose words are for people
        pixels: Pixels = planes.permute(1, 2, 0).numpy()
        return pixels

    return Kernels(decode, resize)


def _decode_plainly(content: bytearray) -> Pixels:
    with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
        pixels = np.array(image.convert("RGB"))
    # Pillow is content when all lines are there, however the last of them were made up.
    if content.find(_END, _find_scan(content)) < 0:
        raise OSError("image file is truncated (no end of image)")
    return pixels


def _find_scan(content: bytearray) -> int:
    """Where the first scan starts: before it, a thumbnail has an end of its own."""
    place = 2
    while content[place : place + 1] == b"\xff" and (marker := content[place + 1]) != _SCAN:
        if marker == 0xFF:  # filled up
            place += 1
        elif marker in _BARE:
            place += 2
        else:
            place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    return place


PLAIN = Kernels(_decode_plainly, resize_pixels_plainly)
"""Pillow's and numpy's."""
_TRIAL = _Trial(PLAIN)
