"""What is told about a file beside its picture, and which images are not used."""

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_data import draw_noise, encode, make_exif
from PIL import Image, PngImagePlugin

from features.pixels.facts import Scan
from features.pixels.scanning import scan_file
from features.settings.images import NO_LIMITS, Images, Limits

ROOT = Path(__file__).parents[3]
NOISE = draw_noise(0, 40, 60)
SMALL = Images(size=16)


def scan(folder: Path, content: bytes, name: str = "a.jpg", limits: Limits = NO_LIMITS) -> Scan:
    (folder / name).write_bytes(content)
    return scan_file(folder, name, limits, SMALL)[0]


def test_a_jpeg_tells_how_it_was_saved(tmp_path: Path) -> None:
    content = encode(NOISE, "JPEG", quality=90, subsampling=2, exif=make_exif(1))
    with Image.open(io.BytesIO(content)) as image:
        luminance = np.mean(image.quantization[0])
    found = scan(tmp_path, content)
    assert (found.format, found.mode, found.exif, found.subsampling) == ("JPEG", "RGB", True, 2)
    assert found.quant_mean == pytest.approx(luminance)
    assert len(found.quant_tables) == 8
    again = scan(tmp_path, encode(draw_noise(5), "JPEG", quality=90, subsampling=0))
    assert again.quant_tables == found.quant_tables
    assert (again.subsampling, again.exif) == (0, False)
    other = scan(tmp_path, encode(NOISE, "JPEG", quality=60))
    assert other.quant_tables != found.quant_tables
    assert other.quant_mean > found.quant_mean


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF", "JPEG2000", "BMP", "GIF", "TIFF"])
def test_other_formats_have_no_tables(tmp_path: Path, kind: str) -> None:
    found = scan(tmp_path, encode(NOISE, kind), f"a.{kind.lower()}")
    assert (found.problem, found.format, found.notes) == ("", kind, "")
    assert (found.quant_tables, found.quant_mean, found.subsampling) == ("", 0.0, -1)
    assert (found.width, found.height) == (60, 40)


def save_animation() -> bytes:
    frames = [draw_noise(i, 20, 20) for i in range(3)]
    return encode(frames[0], "GIF", save_all=True, append_images=frames[1:])


def make_broken_exif() -> bytes:
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x05\0\xff\xff\xff\xff\xff\xff\xff\xff"
    return encode(NOISE, "JPEG", exif=exif)


def save_late_exif() -> bytes:
    """Its EXIF block stands behind the pixels, as the format allows."""
    content = encode(NOISE, exif=make_exif(6))
    chunk = io.BytesIO()
    PngImagePlugin.putchunk(chunk, b"eXIf", make_exif(6).tobytes()[6:])
    place = content.index(b"eXIf") - 4
    whole = content[:place] + content[place + len(chunk.getvalue()) :]
    return whole.replace(whole[-12:], chunk.getvalue() + whole[-12:])


def save_wide() -> bytes:
    wide = np.arange(2400, dtype=np.uint16).reshape(40, 60) * 20
    return encode(Image.fromarray(wide))


@pytest.mark.fault("transparency")
@pytest.mark.fault("an animation")
@pytest.mark.parametrize(
    ("content", "name", "notes"),
    [
        (save_animation(), "a.gif", "animated"),
        (encode(NOISE.convert("RGBA")), "a.png", "transparent"),
        (encode(NOISE, "JPEG", exif=make_exif(6)), "a.jpg", "rotated"),
        (encode(NOISE, "TIFF", exif=make_exif(3)), "a.tif", "rotated"),
        (save_late_exif(), "a.png", "rotated"),
        (encode(NOISE), "a.jpg", "misnamed"),
        (encode(NOISE), "no-extension", ""),
        (encode(NOISE), "odd.extension", ""),
        (encode(NOISE, "JPEG"), "a.jpeg", ""),
        (save_wide(), "a.png", "16 bit"),
    ],
)
def test_what_is_odd_about_a_file_is_noted(
    tmp_path: Path, content: bytes, name: str, notes: str
) -> None:
    found = scan(tmp_path, content, name)
    assert (found.problem, found.notes) == ("", notes)


@pytest.mark.fault(
    "a flipped byte or a lost sector within a PNG or a packed TIFF",
    "quarantine",
    "Pictures",
)
@pytest.mark.parametrize("damage", [b"\xff", bytes(512)], ids=["a byte", "a sector"])
@pytest.mark.parametrize("share", [0.3, 0.9])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_broken_stream_is_a_problem_and_no_black_picture(
    tmp_path: Path, kind: str, share: float, damage: bytes
) -> None:
    options = {"compression": "tiff_adobe_deflate"} if kind == "TIFF" else {}
    content = encode(draw_noise(0, 256, 256), kind, **options)
    place = int(share * len(content))
    broken = content[:place] + damage + content[place + len(damage) :]
    name = f"a.{kind.lower()}"
    assert scan(tmp_path, content, name).problem == ""
    found = scan(tmp_path, broken, name)
    assert found.problem.startswith("does not decode: ")
    assert found.notes == ""


@pytest.mark.fault(
    "an animation cut behind its first frame",
    "the first frame counts, and it is noted",
    "Pictures",
)
def test_an_animation_cut_anywhere_is_used_if_its_first_frame_is_whole(tmp_path: Path) -> None:
    content = save_animation()
    first = content.index(b"\x21\xf9", content.index(b"\x2c"))  # the second frame's extension
    sizes = range(first - 40, len(content), 7)
    found = [scan(tmp_path, content[:size], "a.gif") for size in sizes]
    usable = [scan.problem == "" for scan in found]
    assert usable == sorted(usable), "a longer file is never worse"
    assert {scan.notes for scan in found if not scan.problem} == {
        "",
        "broken animation",
        "animated",
    }


@pytest.mark.fault("a broken EXIF block")
def test_a_broken_exif_block_does_not_spoil_the_image(tmp_path: Path) -> None:
    assert scan(tmp_path, make_broken_exif()).problem == ""


def test_a_jpeg_with_more_pictures_in_it_is_a_jpeg(tmp_path: Path) -> None:
    content = encode(NOISE, "MPO", save_all=True, append_images=[draw_noise(1, 40, 60)])
    found = scan(tmp_path, content)
    assert (found.problem, found.format, found.notes) == ("", "JPEG", "")


def test_interlaced_and_progressive_images_are_read(tmp_path: Path) -> None:
    assert scan(tmp_path, encode(NOISE, "JPEG", progressive=True)).problem == ""
    # Pillow does not write interlaced PNGs: the seven passes of one grey 8 x 8 image by hand.
    passes = [(1, 1), (1, 1), (2, 1), (2, 2), (4, 2), (4, 4), (8, 4)]
    rows = b"".join((b"\0" + b"\x50" * width) * height for width, height in passes)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 1)),
              (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]  # fmt: skip
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    found = scan(tmp_path, content, "a.png")
    assert (found.problem, found.width, found.mode) == ("", 8, "L")


def test_equalised_images_tell_the_size_of_their_new_file(tmp_path: Path) -> None:
    sizes = {}
    for name, image in (("plain.png", NOISE.point(lambda _: 80)), ("rich.png", NOISE)):
        (tmp_path / name).write_bytes(encode(image))
        found, pixels = scan_file(tmp_path, name, NO_LIMITS, Images(size=32, equalize=True))
        assert pixels is not None
        sizes[name] = found.equalized_bytes
    assert 0 < sizes["plain.png"] < sizes["rich.png"]
    assert scan(tmp_path, encode(NOISE)).equalized_bytes == 0


@pytest.mark.fault("too small, or far too long", "quarantine", "Pictures")
@pytest.mark.parametrize(
    ("size", "limits", "problem"),
    [
        ((1, 1), {}, "1 x 1 pixels: a side below min_side 8"),
        ((20_000, 1), {}, "20000 x 1 pixels: a side below min_side 8"),
        ((400, 10), {}, "400 x 10 pixels: longer than max_aspect 20 allows"),
        ((10, 400), {}, "10 x 400 pixels: longer than max_aspect 20 allows"),
        ((200, 10), {}, ""),
        ((60, 40), {"max_pixels": 2399}, "60 x 40 pixels, above max_pixels 2399"),
        ((60, 40), {"formats": ("JPEG", "WEBP")}, "format PNG is none of JPEG, WEBP"),
        ((8, 8), {}, ""),
    ],
)
def test_images_beyond_the_limits_are_not_used(
    tmp_path: Path, size: tuple[int, int], limits: dict[str, Any], problem: str
) -> None:
    assert (
        scan(tmp_path, encode(Image.new("RGB", size)), "a.png", Limits(**limits)).problem == problem
    )


def test_pixels_of_floating_point_have_no_range(tmp_path: Path) -> None:
    content = encode(Image.fromarray(np.random.default_rng(0).random((20, 20), np.float32)), "TIFF")
    assert "floating point" in scan(tmp_path, content, "a.tif").problem


BOMB = """
import resource, sys
from pathlib import Path
from features.pixels.scanning import scan_file
from features.settings.images import Images, Limits
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(scan_file(Path(sys.argv[1]), "bomb.png", Limits(), Images(size=16))[0].problem)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.fault("a decompression bomb")
@pytest.mark.parametrize("side", [10_000, 14_000])
def test_a_bomb_takes_no_memory(tmp_path: Path, side: int) -> None:
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    packed = zlib.compressobj(9)
    line = b"\0" * (3 * side + 1)
    body = b"".join(packed.compress(line) for _ in range(side)) + packed.flush()
    chunks = [(b"IHDR", header), (b"IDAT", body), (b"IEND", b"")]
    with open(tmp_path / "bomb.png", "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, data in chunks:
            PngImagePlugin.putchunk(file, kind, data)
    command = [sys.executable, "-c", BOMB, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    problem, megabytes = done.stdout.splitlines()
    assert "max_pixels" in problem
    assert float(megabytes) < 50
