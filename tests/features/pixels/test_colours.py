"""Pixels of more than 8 bits are no black picture, and large pictures are converted in strips."""

import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from made_data import encode
from PIL import Image

from features.pixels import colours
from features.pixels.facts import Scan
from features.pixels.scanning import scan_file
from features.settings.images import NO_LIMITS, Images

ROOT = Path(__file__).parents[3]
RAMP = np.arange(0, 256, dtype=np.uint16).repeat(16).reshape(64, 64)
"""From black to white, in 8 bits."""


def scan(folder: Path, content: bytes) -> tuple[Scan, npt.NDArray[np.uint8] | None]:
    (folder / "a").write_bytes(content)
    return scan_file(folder, "a", NO_LIMITS, Images(size=64))


def save(values: npt.NDArray[Any], kind: str = "TIFF", **options: Any) -> bytes:
    return encode(Image.fromarray(values), kind, **options)


def save_deep(values: npt.NDArray[np.uint16], colour: int = 2) -> bytes:
    """A PNG of 16 bits a colour, `(h, w, bands)`."""
    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        crc = struct.pack(">I", zlib.crc32(kind + data))
        content += struct.pack(">I", len(data)) + kind + data + crc
    return content


def set_tag(content: bytes, tag: int, value: int) -> bytes:
    """A TIFF with another value of a tag of 16 bits."""
    start = struct.unpack("<I", content[4:8])[0]
    count = struct.unpack("<H", content[start : start + 2])[0]
    places = range(start + 2, start + 2 + 12 * count, 12)
    place = next(p for p in places if content[p : p + 2] == struct.pack("<H", tag))
    return content[: place + 8] + struct.pack("<H", value) + content[place + 10 :]


@pytest.mark.fault(
    "8 or 12 bits in a file of 16 or 32, or values without a known white",
    "scaled by the bits used, and noted; or quarantine",
    "Pictures",
)
@pytest.mark.parametrize(
    ("content", "note"),
    [
        (save(RAMP.astype(np.int32)), "8 of 16 bit"),
        (save(RAMP), "8 of 16 bit"),
        (save(RAMP, "PNG"), "8 of 16 bit"),
        (save((RAMP * 16.06).astype(np.uint16)), "12 of 16 bit"),
        (save((RAMP * 16.06).astype(np.uint16), "PNG"), "12 of 16 bit"),
        (save((RAMP * 16.06).astype(np.int32)), "12 of 16 bit"),
        (save(RAMP * 257), "16 bit"),
        (save((RAMP * 257).astype(np.int32)), "16 bit"),
        (save(RAMP * 257, "JPEG2000", irreversible=False), "16 bit"),
        (save(RAMP * 4, tiffinfo={281: 1023}), "10 of 16 bit"),
        (save(RAMP * 64, tiffinfo={281: 16383}), "14 of 16 bit"),
        (save(RAMP * 257, tiffinfo={281: 4095}), "16 bit"),
        (set_tag(save((255 - RAMP) * 257), 262, 0), "16 bit"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wide_pixels_are_scaled_by_the_bits_that_they_use(
    tmp_path: Path, content: bytes, note: str
) -> None:
    found, pixels = scan(tmp_path, content)
    assert (found.problem, found.notes) == ("", note)
    assert pixels is not None
    np.testing.assert_allclose(pixels[..., 0], RAMP, atol=1.1)


def test_a_largest_value_that_is_the_pictures_own_says_nothing_of_white(tmp_path: Path) -> None:
    dim = RAMP * 128
    for tags in ({}, {281: int(dim.max())}, {281: 65535}):
        pixels = scan(tmp_path, save(dim, tiffinfo=tags))[1]
        assert pixels is not None
        np.testing.assert_allclose(pixels[..., 0], dim / 257, atol=0.51)


@pytest.mark.fault("8 or 12 bits in a file of 16 or 32, or values without a known white")
@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (RAMP.astype(np.int32) * 70_000, "white is unknown"),
        (RAMP.astype(np.int32) - 5, "values -5 … 250: white is unknown"),
    ],
)
def test_wide_pixels_without_a_known_white_are_refused(
    tmp_path: Path, values: npt.NDArray[np.int32], problem: str
) -> None:
    assert problem in scan(tmp_path, save(values))[0].problem


@pytest.mark.fault("8 or 12 bits in a file of 16 or 32, or values without a known white")
@pytest.mark.parametrize("bands", [3, 4])
def test_colours_of_12_bits_are_refused_and_no_black_picture(tmp_path: Path, bands: int) -> None:
    deep = np.stack([RAMP] * 3 + [np.full_like(RAMP, 255)] * (bands - 3), axis=2)
    content = save_deep(deep * 16, colour=2 if bands == 3 else 6)
    assert "or of 12 bits; save it with 8 bits" in scan(tmp_path, content)[0].problem
    found, pixels = scan(tmp_path, save_deep(deep * 257, colour=2 if bands == 3 else 6))
    assert found.problem == ""
    assert pixels is not None
    np.testing.assert_allclose(pixels[..., 0], RAMP, atol=1)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "1", "CMYK", "I", "I;16"])
def test_strips_change_no_pixel(tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (37, 50, 4), np.uint8)
    image = Image.fromarray(noise, "RGBA")
    if mode.startswith("I"):
        image = Image.fromarray(noise[..., 0].astype(np.int32 if mode == "I" else np.uint16))
    elif mode != "RGBA":
        image = image.convert("RGB" if mode == "P" else mode).convert(mode)
    content = encode(image, "TIFF" if mode in ("CMYK", "I") else "PNG")
    whole = scan(tmp_path, content)
    monkeypatch.setattr(colours, "STRIP", 3 * 50)
    parts = scan(tmp_path, content)
    assert whole[0] == parts[0]
    assert whole[1] is not None
    np.testing.assert_array_equal(whole[1], parts[1])


PEAK = """
import os, resource, sys
from pathlib import Path
import numpy as np
from features.pixels.kernels import find_kernels
from features.pixels.scanning import scan_file
from features.settings.images import Images, Limits
import torchvision.io
find_kernels().resize(np.zeros((32, 32, 3), np.uint8), 16, 16)
for name in sys.argv[3:]:
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0
        continue
    for place in map(Path, sys.argv[1:3]):  # a small one loads what is needed
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert not scan_file(place, name, Limits(), Images(size=64))[0].problem
    print(name, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, flush=True)
    os._exit(0)
"""
SIZES = {"small": (400, 300), "large": (4000, 3000)}
MOST = {"I;16 PNG": 6, "I TIFF": 8.5, "RGBA PNG": 10, "RGB WEBP": 20, "P PNG": 6}
"""Bytes a pixel that are taken at most, with the 3 of red, green and blue."""


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Bytes that a process takes to scan a large picture, by mode and format."""
    folder = tmp_path_factory.mktemp("pictures")
    for place, size in SIZES.items():
        (folder / place).mkdir()
        for name in MOST:
            mode, kind = name.split()
            options = {"compression": "tiff_lzw"} if kind == "TIFF" else {}
            content = encode(Image.new(mode, size, 77), kind, **options)
            (folder / place / name).write_bytes(content)
    command = [sys.executable, "-c", PEAK, *(str(folder / place) for place in SIZES), *MOST]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [line.rsplit(maxsplit=1) for line in done.stdout.splitlines()]
    return {name: int(kilobytes) * 1024 for name, kilobytes in lines}


@pytest.mark.fault("a large picture of an odd mode", "converted in strips", "Pictures")
@pytest.mark.parametrize("name", MOST)
def test_a_large_picture_takes_little_more_than_its_pixels(
    taken: dict[str, int], name: str
) -> None:
    width, height = SIZES["large"]
    assert taken[name] / (width * height) < MOST[name]
