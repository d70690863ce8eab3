"""Texts within a PNG, where generators write their settings."""

import zlib

from features.pixels.png_chunks import list_chunks

MOST_TEXTS = 64
MOST_UNPACKED = 1 << 16
"""Bytes of a packed text: its start is enough to be shown."""


def read_texts(content: bytes | bytearray) -> list[tuple[str, str]]:
    """Keywords and texts of the first chunks `tEXt`, `zTXt` and `iTXt`; none of what is no PNG."""
    texts = []
    for kind, start, stop in list_chunks(content):
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            keyword, _, rest = bytes(content[start:stop]).partition(b"\0")
            texts.append((keyword.decode("latin-1"), _read_text(kind, rest)))
        if len(texts) == MOST_TEXTS:
            break
    return texts


def _read_text(kind: bytes, rest: bytes) -> str:
    """`rest` is what follows the keyword (PNG specification, 11.3.3)."""
    if kind == b"tEXt":
        return rest.decode("latin-1")
    if kind == b"zTXt":
        return _unpack(rest[1:]).decode("latin-1")
    is_packed, text = rest[:1] == b"\1", rest[2:].split(b"\0", 2)[-1]
    return (_unpack(text) if is_packed else text).decode("utf-8", "replace")


def _unpack(packed: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(packed, MOST_UNPACKED)
    except zlib.error:
        return b""
