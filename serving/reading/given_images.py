"""Pillow's images into pixels, as their files would be decoded."""

import numpy as np
from PIL import Image

from features.pixels.colours import check_deep_colours, has_deep_colours, paint_rgb
from features.pixels.decoding import Pixels, read_orientation
from features.pixels.opening import report_damage

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By EXIF orientation: what stands upright then."""


@report_damage()
def paint_image(image: Image.Image) -> Pixels:
    """`(h, w, 3)`: upright, transparency on white, 16 bit scaled to 8.

    An image that is not loaded yet is, by the thread that calls. Raises `ImageProblem`.
    """
    is_deep = has_deep_colours(image)
    image.load()
    if is_deep:
        check_deep_colours(image)
    orientation = read_orientation(image)  # a TIFF has none any more: loading turns it
    if orientation in _TURNS:
        image = image.transpose(_TURNS[orientation])
    if image.mode == "La":
        image = image.convert("LA")
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    paint_rgb(image, pixels)
    return pixels
