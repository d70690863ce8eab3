"""One image file into pixels: what is decoded how, and what is refused."""

import io
import os
import struct
import subprocess
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from made_data import decode_image, draw_noise, encode, make_exif
from PIL import Image

from features.errors import DeviceMemoryError, ImageProblem
from features.pixels import decoding
from features.pixels.decoding import Decoded, Pixels, decode_square
from features.runtime import memory
from features.settings.images import NO_LIMITS, Images, Limits

NOISE = draw_noise(0, 40, 60)
JPEG = encode(NOISE, "JPEG", quality=90)
PNG = encode(NOISE)
SMOOTH = Image.linear_gradient("L").resize((60, 40)).convert("RGB")
WHITE, BLACK, RED = (255, 255, 255), (0, 0, 0), (255, 0, 0)


def decode(content: bytes) -> Pixels:
    return decode_image(content)[0]


def make_chunk(kind: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def make_huge_png(width: int, height: int) -> bytes:
    """A few bytes that promise so many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(make_chunk(*part) for part in parts)


def find_tag(content: bytes, tag: int) -> int:
    """Where the entry of a TIFF tag begins."""
    start = struct.unpack("<I", content[4:8])[0]
    count = struct.unpack("<H", content[start : start + 2])[0]
    places = range(start + 2, start + 2 + 12 * count, 12)
    return next(p for p in places if struct.unpack("<H", content[p : p + 2])[0] == tag)


def make_odd_tiff() -> bytes:
    """Its strips begin at a text: Pillow raises `TypeError`."""
    content = bytearray(encode(NOISE, "TIFF"))
    place = find_tag(content, 273)
    content[place + 2 : place + 4] = struct.pack("<H", 2)
    return bytes(content)


def flip_bit(content: bytes, place: int) -> bytes:
    damaged = bytearray(content)
    damaged[place] ^= 1
    return bytes(damaged)


@pytest.mark.fault("a JPEG that was cut off", "quarantine", "Pictures")
@pytest.mark.parametrize("cut", [2, 100, 0.5, 0.9, -1, -2, -20])
def test_a_truncated_jpeg_does_not_decode(cut: float) -> None:
    keep = int(cut * len(JPEG)) if 0 < cut < 1 else int(cut)
    with pytest.raises(ImageProblem):
        decode(JPEG[:keep])


@pytest.mark.fault("a PNG with a wrong checksum, or cut")
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF", "JPEG2000", "BMP", "GIF", "TIFF"])
def test_half_a_file_of_any_format_does_not_decode(kind: str) -> None:
    content = encode(NOISE, kind)
    with pytest.raises(ImageProblem):
        decode(content[: len(content) // 2])


@pytest.mark.fault("a web page or text named .jpg", "quarantine", "Pictures")
@pytest.mark.fault(
    "PostScript, SVG or PDF named .jpg",
    "quarantine; no program is started",
    "Pictures",
)
@pytest.mark.parametrize(
    "content",
    [
        b"\0" * 4096,
        b"<html><body>404 Not Found</body></html>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n",
        b"%PDF-1.7\n1 0 obj\n",
        b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        b"P6\n1 1\n255\nabc",
    ],
    ids=["zeros", "HTML", "PostScript", "PDF", "SVG", "PPM"],
)
def test_other_formats_are_refused_and_start_no_program(
    content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a program was started")

    for place, name in ((subprocess, "Popen"), (os, "system"), (os, "posix_spawn")):
        monkeypatch.setattr(place, name, refuse)
    with pytest.raises(ImageProblem, match="none of the formats JPEG, PNG"):
        decode(content)


@pytest.mark.fault("HEIC", "quarantine; it says what to do", "Pictures")
@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"hevc"])
def test_heic_is_refused_with_what_to_do(brand: bytes) -> None:
    with pytest.raises(ImageProblem, match="HEIC, which is not read: convert it to JPEG or PNG"):
        decode(b"\0\0\0\x1cftyp" + brand + b"\0\0\0\0mif1heicmiaf" + bytes(500))


@pytest.mark.parametrize("kind", ["AVIF", "JPEG2000", "WEBP"])
def test_a_picture_of_a_newer_format_looks_as_it_was(kind: str) -> None:
    found, name = decode_image(encode(SMOOTH, kind, quality_layers=[2]))
    assert name == kind
    np.testing.assert_allclose(found, np.asarray(SMOOTH), atol=12)


def test_an_avif_that_lies_on_its_side_stands_upright() -> None:
    found = decode(encode(SMOOTH, "AVIF", exif=make_exif(6)))
    np.testing.assert_allclose(found, np.rot90(np.asarray(SMOOTH), -1), atol=12)


@pytest.mark.fault("a PNG with a wrong checksum, or cut", "quarantine", "Pictures")
def test_a_png_with_a_wrong_checksum_does_not_decode() -> None:
    with pytest.raises(ImageProblem, match="does not decode"):
        decode(flip_bit(PNG, PNG.index(b"IDAT") + 40))


def test_a_decoder_that_stumbles_is_a_problem_of_the_image() -> None:
    with pytest.raises(ImageProblem, match="does not decode"):
        decode(make_odd_tiff())


def make_palette(transparency: int | None) -> bytes:
    image = Image.new("P", (1, 2))
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.putdata([0, 1])
    return encode(image, **({} if transparency is None else {"transparency": transparency}))


def make_pixels(mode: str, values: list, kind: str = "PNG") -> bytes:
    image = Image.new(mode, (1, len(values)))
    image.putdata(values)
    return encode(image, kind)


@pytest.mark.fault(
    "palettes, grey with alpha, 1 bit, CMYK",
    "decoded to the same kind of RGB",
    "Pictures",
)
@pytest.mark.fault("transparency", "put on white, and noted", "Pictures")
@pytest.mark.parametrize(
    ("content", "pixels"),
    [
        (make_palette(None), [BLACK, RED]),
        (make_palette(0), [WHITE, RED]),
        (make_pixels("L", [0, 77]), [BLACK, (77, 77, 77)]),
        (make_pixels("LA", [(10, 255), (10, 0)]), [(10, 10, 10), WHITE]),
        (make_pixels("1", [0, 255]), [BLACK, WHITE]),
        (make_pixels("RGBA", [(255, 0, 0, 255), (9, 9, 9, 0)]), [RED, WHITE]),
        (make_pixels("RGBA", [(0, 0, 0, 51)]), [(204, 204, 204)]),
        (make_pixels("CMYK", [(0, 255, 255, 0), (0, 0, 0, 255)], "TIFF"), [RED, BLACK]),
        (make_pixels("I;16", [0, 300, 32896, 65535]), [BLACK, (1,) * 3, (128,) * 3, WHITE]),
    ],
    ids=["P", "P + tRNS", "L", "LA", "1 bit", "RGBA", "half clear", "CMYK", "16 bit"],
)
def test_every_colour_mode_becomes_the_same_rgb(content: bytes, pixels: list) -> None:
    found = decode(content)
    assert found.dtype == np.uint8
    assert found.tolist() == [[list(pixel)] for pixel in pixels]


@pytest.mark.fault("palettes, grey with alpha, 1 bit, CMYK")
def test_a_cmyk_jpeg_keeps_its_colours() -> None:
    found = decode(encode(Image.new("RGB", (16, 16), RED).convert("CMYK"), "JPEG", quality=95))
    np.testing.assert_allclose(found.mean(axis=(0, 1)), RED, atol=4)


@pytest.mark.fault("16 bit", "scaled to 8, not clipped", "Pictures")
def test_16_bit_is_scaled_and_not_clipped() -> None:
    wide = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    found = decode(encode(Image.fromarray(wide)))
    assert found.shape == (256, 256, 3)
    assert abs(found.mean() - wide.mean() / 257) < 0.01
    np.testing.assert_allclose(found[..., 0], wide / 257, atol=0.5)


UPRIGHT = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.fault("EXIF says that it lies on its side", "stands upright, and noted", "Pictures")
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_picture_with_an_exif_orientation_stands_upright(orientation: int) -> None:
    found = decode(encode(NOISE, exif=make_exif(orientation)))
    np.testing.assert_array_equal(found, UPRIGHT[orientation](np.asarray(NOISE)))


@pytest.mark.fault("a broken EXIF block", "ignored, the pixels count", "Pictures")
@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0garbage", b"Exif\0\0II*\0\x08\0\0\0\xff"])
def test_a_broken_exif_block_is_ignored(exif: bytes) -> None:
    found = decode(encode(NOISE, "JPEG", quality=90, exif=exif))
    np.testing.assert_array_equal(found, decode(JPEG))


@pytest.mark.fault("a decoder that raises anything", "quarantine, in plain words", "Pictures")
@pytest.mark.parametrize(
    "error",
    [
        IndexError("list index out of range"),
        struct.error("unpack requires a buffer of 8 bytes"),
        TypeError("'<' not supported between instances of 'str' and 'int'"),
        RuntimeError("/root/build/decode.cpp is wrong"),
        OSError("cannot identify image file <_io.BytesIO object at 0x7f00>"),
        ValueError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_decoder_raises_the_reason_is_in_plain_words(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(_: object) -> None:
        raise error

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", stumble)
    with pytest.raises(ImageProblem, match=r"^does not decode: its content is damaged$"):
        decode(PNG)


@pytest.mark.parametrize("mark", [b"\xff\xc0", b"\xff\xda", b"\xff\xdb", b"\xff\xc4"])
def test_a_jpeg_with_a_spoiled_segment_names_no_place_in_a_decoder(mark: bytes) -> None:
    place = JPEG.index(mark) + 4
    spoiled = JPEG[:place] + b"\xfe" * 12 + JPEG[place + 12 :]
    with pytest.raises(ImageProblem, match=r"^(none of the formats|does not decode: )[^/]*$"):
        decode(spoiled)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_what_is_not_the_files_fault_ends_the_stage(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(_: object) -> None:
        raise error

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", stumble)
    with pytest.raises(error):
        decode(PNG)


@pytest.mark.fault(
    "more large pictures than the memory holds",
    "one after another, and fewer workers; too little for one is an error with its size",
    "Pictures",
)
@pytest.mark.parametrize(("share", "together"), [(1 << 40, 4), (0, 1)])
def test_large_pictures_are_decoded_one_after_another(
    tmp_path: Path, share: int, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work, most, door = 0, 0, threading.Condition()

    def decode_slowly(*_: object) -> Decoded:
        nonlocal at_work, most
        with door:
            at_work += 1
            most = max(most, at_work)
            door.notify_all()
            door.wait_for(lambda: most == together, timeout=30)
        time.sleep(0.02)
        with door:
            at_work -= 1
        return Decoded(np.zeros((16, 16, 3), np.uint8), [])

    monkeypatch.setattr(memory, "measure_worker_memory", lambda: share)
    monkeypatch.setattr(decoding, "decode_pixels", decode_slowly)
    images = Images(size=16, store_dir=str(tmp_path / "store"))
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: decode_square(bytearray(PNG), images), range(4)))
    assert most == together


@pytest.mark.fault("more large pictures than the memory holds")
@pytest.mark.parametrize(
    ("free", "error", "text"),
    [
        (1 << 40, ImageProblem, "it asks for more memory than its size"),
        (100, DeviceMemoryError, "A picture of 60 x 40 pixels takes 0.0 GB to decode"),
    ],
    ids=["the file's fault", "the machine's"],
)
def test_too_little_memory_is_told_by_whose_fault_it_is(
    free: int, error: type[Exception], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(decoding, "measure_free_memory", lambda: free)
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", stumble)
    with pytest.raises(error, match=text):
        decode_square(bytearray(PNG), Images(size=16))


@pytest.mark.parametrize("error", [ZeroDivisionError, struct.error, TypeError])
def test_whatever_the_exif_block_raises_the_pixels_count(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(_: object) -> None:
        raise error

    monkeypatch.setattr(Image.Image, "getexif", stumble)
    np.testing.assert_array_equal(decode(PNG), np.asarray(NOISE))


@pytest.mark.fault("an animation", "its first frame counts, and it is noted", "Pictures")
@pytest.mark.parametrize("kind", ["GIF", "WEBP", "AVIF", "PNG", "TIFF"])
def test_the_first_frame_of_an_animation_counts(kind: str) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert Image.open(io.BytesIO(content)).n_frames == 2
    np.testing.assert_allclose(decode(content), np.full((20, 20, 3), RED), atol=2)


@pytest.mark.fault(
    "a decompression bomb",
    "quarantine before anything is decoded, without its memory",
    "Pictures",
)
@pytest.mark.parametrize(
    ("width", "height", "problem"),
    [
        (10_000, 10_001, "10000 x 10001 pixels, above max_pixels"),
        (20_000, 20_000, "pixels"),
        (60_000, 60_000, "pixels"),
    ],
)
def test_too_many_pixels_are_refused_before_they_are_decoded(
    width: int, height: int, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", refuse)
    with pytest.raises(ImageProblem, match=problem):
        decode_image(make_huge_png(width, height), Limits(max_pixels=100_000_000))


def test_as_many_pixels_as_the_limit_are_allowed() -> None:
    assert decode_image(PNG, Limits(max_pixels=2400))[0].shape == (40, 60, 3)
    with pytest.raises(ImageProblem, match="60 x 40 pixels, above max_pixels"):
        decode_image(PNG, Limits(max_pixels=2399))


def test_what_prepare_let_through_is_decoded_later(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise OSError("it was decoded")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", refuse)
    content = make_huge_png(10_000, 12_000)
    for limit in (Limits(max_pixels=120_000_000), NO_LIMITS):
        with pytest.raises(ImageProblem, match="it was decoded"):
            decode_image(content, limit)
