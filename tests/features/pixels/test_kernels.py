"""With torch or without it: the same pixels to the bit, and the same files refused."""

import io

import numpy as np
import pytest
from made_data import draw_noise, encode
from PIL import Image

from features.errors import ImageProblem
from features.pixels.decoding import decode_picture
from features.pixels.kernels import PLAIN, Kernels, find_kernels
from features.settings.images import NO_LIMITS, Images

# One side or both larger, smaller or the same; whole ratios and others; ratios at which weights
# get another bit (2, 4, 8 …) and beyond those that float32 is exact for; a line of pixels.
SHAPES = [
    (64, 64, 32), (96, 64, 48), (48, 48, 48), (30, 90, 48), (48, 100, 48), (100, 48, 48),
    (97, 193, 48), (16, 400, 16), (391, 811, 96), (1500, 40, 16), (1, 700, 32), (700, 1, 32),
    (7, 5, 224), (255, 257, 256),
]  # fmt: skip


@pytest.mark.parametrize(("height", "width", "size"), SHAPES)
def test_resizing_gives_the_bits_of_torch(height: int, width: int, size: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    with_torch, plain = (k.resize(pixels, size, size) for k in (find_kernels(), PLAIN))
    assert find_kernels() is not PLAIN
    np.testing.assert_array_equal(plain, with_torch)


def test_white_stays_white_and_pictures_that_were_turned_are_resized_alike() -> None:
    white = np.full((301, 77, 3), 255, np.uint8)
    assert (PLAIN.resize(white, 48, 48) == 255).all()
    lying = np.random.default_rng(1).integers(0, 256, (60, 90, 3), np.uint8)
    turned = lying.transpose(1, 0, 2)[::-1]
    np.testing.assert_array_equal(
        PLAIN.resize(turned, 32, 32), PLAIN.resize(np.ascontiguousarray(turned), 32, 32)
    )


def decode_with(kernels: Kernels, content: bytes, equalize: bool) -> object:
    try:
        images = Images(size=48, equalize=equalize)
        return decode_picture(bytearray(content), NO_LIMITS, images, kernels).square.tobytes()
    except ImageProblem:
        return "a problem"


@pytest.mark.parametrize("equalize", [False, True])
@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("JPEG", "RGB", {"quality": 85}),
        ("JPEG", "RGB", {"quality": 95, "subsampling": 0, "progressive": True}),
        ("JPEG", "L", {}),
        ("JPEG", "CMYK", {}),
        ("PNG", "RGBA", {}),
        ("WEBP", "RGB", {}),
    ],
)
def test_files_decode_to_the_same_square(
    kind: str, mode: str, options: dict, equalize: bool
) -> None:
    content = encode(draw_noise(0, 131, 97).convert(mode), kind, **options)
    found = [decode_with(kernels, content, equalize) for kernels in (find_kernels(), PLAIN)]
    assert found[0] != "a problem"
    assert found[0] == found[1]


@pytest.mark.parametrize("left", [0.3, 0.9])
def test_a_cut_jpeg_is_refused_by_both(left: float) -> None:
    content = encode(draw_noise(0, 131, 97), "JPEG")
    cut = content[: int(left * len(content))]
    assert [decode_with(k, cut, False) for k in (find_kernels(), PLAIN)] == ["a problem"] * 2


def test_a_jpeg_is_what_pillow_makes_of_it() -> None:
    content = encode(draw_noise(0, 64, 96), "JPEG", quality=85)
    with Image.open(io.BytesIO(content)) as image:
        wanted = np.asarray(image.convert("RGB"))
    for kernels in (find_kernels(), PLAIN):
        np.testing.assert_array_equal(kernels.decode_jpeg(bytearray(content)), wanted)
