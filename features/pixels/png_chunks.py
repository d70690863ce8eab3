"""Chunks of a PNG that hold no picture: texts and colour profiles, of any size when unpacked."""

import zlib
from collections.abc import Iterator
from itertools import pairwise

SIGNATURE = b"\x89PNG\r\n\x1a\n"
UNREAD = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
ORIENTED = (b"XML:com.adobe.xmp", b"Raw profile type exif")
"""Keywords of texts that may say how a picture is turned."""
LARGEST = 1 << 20
"""Bytes of a text that Pillow unpacks."""


def list_chunks(content: bytes | bytearray) -> Iterator[tuple[bytes, int, int]]:
    """The kind of each whole chunk, and where its data start and stop; none of what is no PNG."""
    view, place = memoryview(content), len(SIGNATURE)
    while content.startswith(SIGNATURE) and place + 12 <= len(content):
        stop = place + 8 + int.from_bytes(view[place : place + 4], "big")
        if stop + 4 > len(content):
            break  # a cut file, which its decoder will refuse
        yield bytes(view[place + 4 : place + 8]), place + 8, stop
        place = stop + 4


def drop_texts(content: bytes | bytearray) -> bytes | bytearray:
    """`content` without its texts and colour profiles, if it is a PNG that has some.

    Generators write their whole workflow there, so to refuse a picture for its text would refuse
    fakes alone. Nothing is unpacked but a little of what may hold an orientation.
    """
    view = memoryview(content)
    dropped = [
        (start - 8, stop + 4)
        for kind, start, stop in list_chunks(content)
        if kind in UNREAD and not _is_oriented(kind, bytes(view[start:stop]))
    ]
    if not dropped:
        return content
    edges = [0, *(edge for chunk in dropped for edge in chunk), len(content)]
    return b"".join(view[start:stop] for start, stop in list(pairwise(edges))[::2])


def _is_oriented(kind: bytes, data: bytes) -> bool:
    """Whether a chunk may say how the picture is turned, and is small enough to be looked into."""
    keyword, _, rest = data.partition(b"\0")
    if keyword not in ORIENTED:
        return False
    if kind == b"zTXt":
        return _is_small(rest[1:])
    if kind == b"iTXt" and rest[:1] == b"\1":  # two zero-terminated texts before what is packed
        return _is_small(rest[2:].split(b"\0", 2)[-1])
    return len(rest) <= LARGEST


def _is_small(packed: bytes) -> bool:
    unpacking = zlib.decompressobj()
    try:
        unpacking.decompress(packed, LARGEST)
    except zlib.error:
        return False
    return not unpacking.unconsumed_tail
