"""Chunks of a PNG that hold no picture: texts and colour profiles, of any size when unpacked."""

import zlib
from itertools import pairwise

SIGNATURE = b"\x89PNG\r\n\x1a\n"
UNREAD = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
ORIENTED = (b"XML:com.adobe.xmp", b"Raw profile type exif")
"""Keywords of texts that may say how a picture is turned."""
LARGEST = 1 << 20
"""Bytes of a text that Pillow unpacks."""


def drop_texts(content: bytes | bytearray) -> bytes | bytearray:
    """`content` without its texts and colour profiles, if it is a PNG that has some.

    Generators write their whole workflow there, so to refuse a picture for its text would refuse
    fakes alone. Nothing is unpacked but a little of what may hold an orientation.
    """
    if not content.startswith(SIGNATURE):
        return content
    view, place, dropped = memoryview(content), len(SIGNATURE), []
    while place + 12 <= len(content):
        kind = bytes(view[place + 4 : place + 8])
        end = place + 12 + int.from_bytes(view[place : place + 4], "big")
        if end > len(content):
            break  # a cut file, which its decoder will refuse
        if kind in UNREAD and not _is_oriented(kind, bytes(view[place + 8 : end - 4])):
            dropped.append((place, end))
        place = end
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
