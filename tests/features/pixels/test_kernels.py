"""With torch or without it: the same pixels to the bit, and the same files refused."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_data import draw_noise, encode
from PIL import Image

from features.errors import ImageProblem
from features.pixels import kernels as decoders
from features.pixels.decoding import decode_picture
from features.pixels.kernels import PLAIN, Kernels, load_torch_kernels
from features.settings.images import NO_LIMITS, Images

BOTH = [load_torch_kernels() or PLAIN, PLAIN]
# One side or both larger, smaller or the same; whole ratios and others; ratios at which weights
# get another bit (2, 4, 8 …) and beyond those that float32 is exact for; a line of pixels.
SHAPES = [
    (64, 64, 32), (96, 64, 48), (48, 48, 48), (30, 90, 48), (48, 100, 48), (100, 48, 48),
    (97, 193, 48), (16, 400, 16), (391, 811, 96), (1500, 40, 16), (1, 700, 32), (700, 1, 32),
    (7, 5, 224), (255, 257, 256),
]  # fmt: skip


def test_there_are_two_to_compare() -> None:
    assert BOTH[0] is not PLAIN


@pytest.mark.parametrize(("height", "width", "size"), SHAPES)
def test_resizing_gives_the_bits_of_torch(height: int, width: int, size: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    with_torch, plain = (k.resize(pixels, size, size) for k in BOTH)
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
    except ImageProblem as problem:
        return str(problem)


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
    found = [decode_with(kernels, content, equalize) for kernels in BOTH]
    assert isinstance(found[0], bytes)
    assert found[0] == found[1]


@pytest.mark.parametrize("kind", ["cut", "cut late", "end gone", "zeros to the end", "filled up"])
def test_a_damaged_jpeg_is_refused_by_both_in_the_same_words(kind: str) -> None:
    content = encode(draw_noise(0, 131, 97), "JPEG", exif=make_thumbnail())
    damaged = {
        "cut": content[: int(0.3 * len(content))],
        "cut late": content[: int(0.9 * len(content))],
        "end gone": content[:-2],
        "zeros to the end": content[:-900] + bytes(900),
        "filled up": content[:2] + b"\xff\xff" + content[2:-2],
    }[kind]
    found = [decode_with(kernels, damaged, False) for kernels in BOTH]
    assert found[0] == found[1]
    assert str(found[0]).startswith("does not decode: image file is truncated")


def make_thumbnail() -> bytes:
    """Of an EXIF block; it has an end of its own."""
    return b"Exif\0\0" + encode(draw_noise(1, 16, 16), "JPEG")


def test_torch_is_loaded_for_large_work_alone(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encode(draw_noise(0, 64, 64), "JPEG"))
    code = """if True:
        import sys
        from pathlib import Path
        from features.pixels import kernels

        content = bytearray(Path(sys.argv[1]).read_bytes())
        first = kernels.find_kernels().decode_jpeg(content)
        assert "torch" not in sys.modules
        kernels.LOADING_SECONDS = 0.0
        assert (kernels.find_kernels().decode_jpeg(content) == first).all()
        assert "torch" in sys.modules
    """
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.jpg")], check=True)


@pytest.mark.parametrize(("file_bytes", "is_loaded"), [(1e9, True), (1e6, False)])
def test_a_process_among_several_loads_torch_at_once_or_never(
    monkeypatch: pytest.MonkeyPatch, file_bytes: float, is_loaded: bool
) -> None:
    """What it loads later joblib takes for a leak, and ends the process."""
    loaded: list[bool] = []
    trial = decoders._Trial(PLAIN)
    monkeypatch.setattr(decoders, "_TRIAL", trial)
    monkeypatch.setattr(decoders, "load_torch_kernels", lambda: loaded.append(True))
    monkeypatch.setattr(decoders, "LOADING_SECONDS", 0.0)
    decoders.settle_kernels(file_bytes)
    trial.kernels.resize(np.zeros((64, 64, 3), np.uint8), 32, 32)
    assert bool(loaded) == is_loaded
    assert trial.is_over == is_loaded


def test_a_jpeg_is_what_pillow_makes_of_it() -> None:
    content = encode(draw_noise(0, 64, 96), "JPEG", quality=85)
    with Image.open(io.BytesIO(content)) as image:
        wanted = np.asarray(image.convert("RGB"))
    for kernels in BOTH:
        np.testing.assert_array_equal(kernels.decode_jpeg(bytearray(content)), wanted)
