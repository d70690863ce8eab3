"""Image files as Pillow opens them: which formats, within which limits, and what a decoder says."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import AvifImagePlugin, Image, UnidentifiedImageError

from features.errors import ImageProblem
from features.pixels.png_chunks import drop_texts
from features.settings.images import FORMATS, Limits

AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # files are decoded side by side
_DAMAGED = "its content is damaged"
_PLACE = re.compile(r"^.*\.\w+:\d+[,:]\s*")
"""Of torchvision: `decode_jpeg, <file>:<line>, `, before its reason."""
_UNSPOKEN = re.compile(r"/|0x|^decoder error")
_SPOKEN = (OSError, SyntaxError, ValueError, RuntimeError)
"""Errors whose text a decoder wrote for people; that of others is Python's."""


@contextmanager
def report_damage() -> Iterator[None]:
    """Whatever a decoder raises within becomes an `ImageProblem` in plain words.

    Decoders raise anything: `TypeError` for a TIFF of odd tags, `IndexError` for a cut GIF.
    """
    try:
        yield
    except (ImageProblem, MemoryError):
        raise
    except Exception as error:
        raise ImageProblem(f"does not decode: {_explain(error)}") from None


def _explain(error: Exception) -> str:
    """One line of what the decoder says, unless it speaks of memory or of its own source."""
    if not isinstance(error, _SPOKEN) or not str(error):
        return _DAMAGED
    text = _PLACE.sub("", str(error).splitlines()[0])
    return _DAMAGED if _UNSPOKEN.search(text) else text


@report_damage()
def open_image(content: bytes | bytearray, limits: Limits) -> Image.Image:
    """The header, read by content and not by name; raises `ImageProblem` before any decoding.

    A decoder outside `limits.formats` is never reached: a PostScript file named .jpg would start
    Ghostscript.
    """
    try:
        image = Image.open(io.BytesIO(drop_texts(content)), formats=FORMATS)
    except UnidentifiedImageError:
        if _is_heic(content):
            raise ImageProblem(
                "HEIC, which is not read: convert it to JPEG or PNG (heif-convert), fakes and reals"
            ) from None
        raise ImageProblem(f"none of the formats {', '.join(limits.formats)}") from None
    except Image.DecompressionBombError:
        raise ImageProblem(f"more pixels than max_pixels {limits.max_pixels}") from None
    if problem := limits.find_problem(name_format(image), *image.size):
        raise ImageProblem(problem)
    return image


def _is_heic(content: bytes | bytearray) -> bool:
    """By the brands of its first box (ISO/IEC 23008-12)."""
    brands = content[8 : int.from_bytes(content[:4], "big")][:64]
    return content[4:8] == b"ftyp" and any(
        brands[i : i + 4] in (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis")
        for i in range(0, len(brands), 4)
    )


def name_format(image: Image.Image) -> str:
    """The format by content; a JPEG with further pictures in it (MPO) is a JPEG."""
    return "JPEG" if image.format == "MPO" else image.format or ""
