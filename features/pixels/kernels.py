"""What takes most of the time of decoding: by torch where it is installed, or without it.

Both give the same pixels to the bit, so labelling needs no torch and `prepare` may use it.
"""

import functools
import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from features.pixels.resizing import resize_pixels_plainly

Pixels = npt.NDArray[np.uint8]


class Kernels(NamedTuple):
    """How a plain JPEG becomes pixels, and how these get another size."""

    decode_jpeg: Callable[[bytearray], Pixels]
    """A file's content to `(h, w, 3)`."""
    resize: Callable[[Pixels, int, int], Pixels]
    """`(h, w, 3)` to `(height, width, 3)`, bilinear and antialiased."""


@functools.cache
def find_kernels() -> Kernels:
    """torch's and torchvision's where they are installed: twice as fast in all, but torch takes
    seconds to load."""
    return _load_torch() or PLAIN


def _load_torch() -> Kernels | None:
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
        planes = decode_jpeg(torch.frombuffer(content, dtype=torch.uint8), ImageReadMode.RGB)
        pixels: Pixels = planes.permute(1, 2, 0).numpy()
        return pixels

    return Kernels(decode, resize)


def _decode_plainly(content: bytearray) -> Pixels:
    with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
        return np.array(image.convert("RGB"))


PLAIN = Kernels(_decode_plainly, resize_pixels_plainly)
"""Pillow's and numpy's."""
