"""Pillow's images into pixels, as their files would be decoded."""

from PIL import Image

from features.pixels.colours import check_deep_colours, has_deep_colours, paint_rgb
from features.pixels.decoding import Pixels, make_canvas, read_orientation
from features.pixels.opening import report_damage


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
    if image.mode == "La":
        image = image.convert("LA")
    pixels, lying = make_canvas(image.size, orientation or 1)
    paint_rgb(image, lying)
    return pixels
