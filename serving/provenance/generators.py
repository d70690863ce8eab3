"""Settings and names that generators and editors leave in a file."""

import codecs

from PIL import ExifTags, Image

from serving.provenance.marks import Mark, build_mark
from serving.provenance.png_texts import read_texts

KIND = "Texts of generators and editors"
KEYWORDS = {
    *("parameters", "prompt", "workflow", "generation_data", "sd-metadata", "invokeai_metadata"),
    *("dream", "software", "comment", "description", "title", "source", "creator"),
}
"""Of PNG texts: AUTOMATIC1111, ComfyUI, Fooocus, InvokeAI and NovelAI write such, and editors."""
_TAGS = (ExifTags.Base.Software, ExifTags.Base.ImageDescription)
_ENCODINGS = {b"ASCII\0\0\0": "ascii", b"UNICODE\0": "utf-16", b"\0" * 8: "utf-8"}
"""How a user comment of EXIF starts."""


def find_generator_texts(content: bytes | bytearray, exif: Image.Exif) -> Mark:
    """Of PNG texts, and of EXIF, where JPEG and WebP have the same."""
    values = [item for item in read_texts(content) if item[0].lower() in KEYWORDS]
    values += [(tag.name, str(exif[tag])) for tag in _TAGS if exif.get(tag)]
    comment = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment)
    if isinstance(comment, bytes) and (text := _decode_comment(comment)):
        values.append(("UserComment", text))
    return build_mark(KIND, values)


def _decode_comment(comment: bytes) -> str:
    encoding = _ENCODINGS.get(comment[:8])
    text = comment[8:] if encoding else comment
    if encoding == "utf-16" and text[:2] not in (codecs.BOM_UTF16_BE, codecs.BOM_UTF16_LE):
        encoding = _guess_order(text)
    return text.decode(encoding or "latin-1", "replace").strip("\0 ")


def _guess_order(text: bytes) -> str:
    """Of UTF-16: programs keep to the order of their machine, whatever the block's is. First halves
    of characters vary less than second ones."""
    return "utf-16-le" if len(set(text[1::2])) < len(set(text[::2])) else "utf-16-be"
