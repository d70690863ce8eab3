"""What a PNG holds beside its picture costs neither the picture nor memory."""

import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from made_data import decode_image, draw_noise, encode

from features.pixels.scanning import scan_file
from features.settings.images import Images, Limits

NOISE = draw_noise(0, 40, 60)
PNG = encode(NOISE)
LARGE = zlib.compress(bytes(3 << 20))
XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description
 tiff:Orientation="3"/></rdf:RDF></x:xmpmeta>"""


def add_chunks(*chunks: tuple[bytes, bytes]) -> bytes:
    """A picture with chunks before its pixels."""
    parts: list[bytes] = []
    for kind, data in chunks:
        crc = zlib.crc32(kind + data).to_bytes(4, "big")
        parts.append(len(data).to_bytes(4, "big") + kind + data + crc)
    place = PNG.index(b"IDAT") - 4
    return PNG[:place] + b"".join(parts) + PNG[place:]


@pytest.mark.fault(
    "a PNG with a text or a colour profile of megabytes, or one that unpacks to gigabytes",
    "read; texts are left aside",
    "Pictures",
)
@pytest.mark.parametrize(
    "chunks",
    [
        [(b"zTXt", b"workflow\0\0" + LARGE)],
        [(b"iTXt", b"workflow\0\1\0\0\0" + LARGE)],
        [(b"iCCP", b"profile\0\0" + LARGE)],
        [(b"tEXt", b"prompt\0" + bytes([65]) * (1 << 20))] * 65,
        [(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + LARGE)],
        [(b"zTXt", b"Raw profile type exif\0\0" + LARGE)],
    ],
    ids=["zTXt", "iTXt", "profile", "many", "XMP", "EXIF"],
)
def test_a_picture_with_long_texts_is_read(
    tmp_path: Path, chunks: list[tuple[bytes, bytes]]
) -> None:
    content = add_chunks(*chunks)
    np.testing.assert_array_equal(decode_image(content)[0], np.asarray(NOISE))
    (tmp_path / "a.png").write_bytes(content)
    found = scan_file(tmp_path, "a.png", Limits(), Images(size=16))[0]
    assert (found.problem, found.bytes) == ("", len(content))


def test_what_says_how_a_picture_is_turned_is_kept() -> None:
    upright = np.rot90(np.asarray(NOISE), 2)
    for data in (b"\0\0\0\0" + XMP, b"\1\0\0\0" + zlib.compress(XMP)):
        content = add_chunks((b"iTXt", b"XML:com.adobe.xmp\0" + data), (b"tEXt", b"prompt\0a cat"))
        np.testing.assert_array_equal(decode_image(content)[0], upright)


@pytest.mark.fault(
    "a PNG with a text or a colour profile of megabytes, or one that unpacks to gigabytes",
)
@pytest.mark.parametrize("keyword", [b"workflow", b"Raw profile type exif"])
def test_a_text_that_unpacks_to_gigabytes_takes_no_memory(keyword: bytes) -> None:
    packing = zlib.compressobj(1)
    parts = [packing.compress(bytes(1 << 20)) for _ in range(256)]
    content = add_chunks((b"zTXt", keyword + b"\0\0" + b"".join(parts) + packing.flush()))
    tracemalloc.start()
    decode_image(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * len(content) + (8 << 20)
