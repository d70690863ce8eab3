"""What a file tells beside its picture: facts that may betray its class."""

import functools
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import get_sampling

from features.pixels.opening import name_format, report_damage


@dataclass(frozen=True)
class Scan:
    """What is known about one file. `problem` is empty if it decodes; see `Manifest` for units."""

    problem: str
    width: int = 0
    height: int = 0
    bytes: int = 0
    format: str = ""
    mode: str = ""
    exif: bool = False
    subsampling: int = -1
    quant_tables: str = ""
    quant_mean: float = 0.0
    equalized_bytes: int = 0
    notes: str = ""
    sha256: str = ""


@report_damage()
def describe_image(image: Image.Image, path: str, seen: Sequence[str] = ()) -> dict[str, Any]:
    """Facts of the file that are not the picture. Keys are fields of `Scan`.

    `seen` are notes that decoding made. It comes first: a question to Pillow may decode, and
    swallow what is wrong with the pixels.
    """
    name = name_format(image)
    tables = getattr(image, "quantization", None) or {}
    digest, mean = _sum_up_tables(tuple(tuple(table) for _, table in sorted(tables.items())))
    return {
        "format": name,
        "mode": image.mode,
        "exif": "exif" in image.info,
        "subsampling": get_sampling(image) if name == "JPEG" else -1,
        "quant_tables": digest,
        "quant_mean": mean,
        "notes": ";".join([*_list_notes(image, name, path), *seen]),
    }


@functools.lru_cache(maxsize=1024)  # most files of a set share a few qualities
def _sum_up_tables(tables: tuple[tuple[int, ...], ...]) -> tuple[str, float]:
    """A short digest of all quantisation tables, and the mean of the first one."""
    if not tables:
        return "", 0.0
    listed = repr([list(table) for table in tables])
    return hashlib.sha256(listed.encode()).hexdigest()[:8], float(np.mean(tables[0]))


def _list_notes(image: Image.Image, name: str, path: str) -> list[str]:
    known = _list_extensions().get(os.path.splitext(path)[1].lower(), name)
    is_animated = _is_animated(image)
    noted = {
        "animated": is_animated,
        "broken animation": is_animated is None,
        "transparent": image.has_transparency_data,
        "misnamed": known not in (name, "MPO"),
    }
    return [note for note, is_so in noted.items() if is_so]


def _is_animated(image: Image.Image) -> bool | None:
    """`None` where what follows the first frame is broken; Pillow looks for a second one."""
    try:
        return image.format != "MPO" and bool(getattr(image, "is_animated", False))
    except Exception:  # struct.error, IndexError, …: the first frame is sound, and alone counts
        return None


@functools.cache
def _list_extensions() -> dict[str, str]:
    return Image.registered_extensions()
