"""What is known of an image without its picture: facts of the file and the shape of its name."""

import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.core.manifest_columns import ColumnReader
from features.videos.addresses import name_file

Floats = npt.NDArray[np.float64]
Codes = Mapping[str, "pd.Index[Any]"]

FILE, NAME, AFTER = "file", "name", "after"
FAMILIES = {
    FILE: (
        "width",
        "height",
        "aspect",
        "bytes",
        "bytes per pixel",
        "format",
        "mode",
        "quantisation tables",
        "quantisation mean",
        "subsampling",
        "EXIF",
        "notes",
    ),
    NAME: (
        "length of the name",
        "digits in the name",
        "letters in the name",
        "hex digits in the name",
        "separators in the name",
        "extension",
        "misnamed",
    ),
    AFTER: ("bytes after images.equalize",),
}
"""Facts by family. `after` is all that `images.equalize` leaves of `file`: size, format, mode,
tables and EXIF are the same for all images then. Names never reach a network."""
CATEGORIES = ("format", "mode", "quantisation tables", "notes", "extension")
SOURCES = (
    *("img_name", "width", "height", "bytes", "format", "mode", "quant_tables", "quant_mean"),
    *("subsampling", "exif", "notes", "equalized_bytes"),
)
"""Columns of a manifest that facts are built from."""
MISNAMED = "misnamed"
"""The note of a file whose extension is not that of its format."""
MAX_CATEGORIES = 254
"""So many values of a category that scikit-learn's 255 bins hold them; rarer ones count as missing.
"""
_WITHOUT = {
    "digits in the name": str.maketrans("", "", string.digits),
    "letters in the name": str.maketrans("", "", string.ascii_letters),
    "hex digits in the name": str.maketrans("", "", string.hexdigits),
    "separators in the name": str.maketrans("", "", string.punctuation + " "),
}


def are_saved_alike(table: ColumnReader) -> bool:
    """Whether all files have one size, format, mode and quality, so that bytes follow content."""
    facts = ("width", "height", "format", "mode", "quant_tables", "subsampling")
    return all(table.read(fact).nunique() <= 1 for fact in facts)


def build_file_facts(table: pd.DataFrame) -> pd.DataFrame:
    """`(n, d)` facts of rows by their `SOURCES`, columns as in `FAMILIES`; categories are text."""
    width, height = table["width"].to_numpy(float), table["height"].to_numpy(float)
    size = table["bytes"].to_numpy(float)
    notes = [note.split(";") for note in table["notes"]]
    facts = {
        "width": width,
        "height": height,
        "aspect": width / np.maximum(height, 1),
        "bytes": size,
        "bytes per pixel": size / np.maximum(width * height, 1),
        "format": table["format"].to_numpy(object),
        "mode": table["mode"].to_numpy(object),
        "quantisation tables": table["quant_tables"].to_numpy(object),
        "quantisation mean": table["quant_mean"].to_numpy(float),
        "subsampling": table["subsampling"].to_numpy(float),
        "EXIF": table["exif"].to_numpy(float),
        "notes": [";".join(word for word in words if word != MISNAMED) for words in notes],
        **describe_names(list(table["img_name"])),
        "misnamed": [float(MISNAMED in words) for words in notes],
        "bytes after images.equalize": table["equalized_bytes"].to_numpy(float),
    }
    return pd.DataFrame(facts)


def describe_names(names: Sequence[str]) -> dict[str, list[float] | list[str]]:
    """The shape of the base names: `n` lengths, shares of kinds of characters, extensions.

    Folders do not count: where they stand for the classes they are the label itself. Nor does what
    is taken of a file: frames and faces have the name of theirs.
    """
    bases = [_name_base(name) for name in names]
    parts = [base.rpartition(".") if "." in base[1:] else (base, "", "") for base in bases]
    stems = [stem for stem, _, _ in parts]
    shares: dict[str, list[float] | list[str]] = {
        kind: [_share(stem, without) for stem in stems] for kind, without in _WITHOUT.items()
    }
    lengths = [float(len(stem)) for stem in stems]
    return {"length of the name": lengths, **shares, "extension": [end for _, _, end in parts]}


def _name_base(name: str) -> str:
    return name_file(name).replace("\\", "/").rstrip("/").rpartition("/")[2]


def _share(stem: str, without: Mapping[int, int | None]) -> float:
    """Of the characters of `stem`, those that it lacks `without` them; 0 where it has none."""
    return (len(stem) - len(stem.translate(without))) / max(len(stem), 1)


def learn_codes(blocks: Iterable[pd.DataFrame]) -> Codes:
    """The values of each category, the most frequent first. `blocks`: facts of some rows each."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in CATEGORIES}
    for facts in blocks:
        for name, known in counts.items():
            known.update(facts[name])
    codes = {}
    for name, known in counts.items():
        frequent = sorted(known, key=lambda value: (-known[value], value))
        codes[name] = pd.Index(frequent[:MAX_CATEGORIES])
    return codes


def encode_facts(facts: pd.DataFrame, codes: Codes) -> dict[str, Floats]:
    """`(n,)` numbers by fact: a category's place in `codes`, NaN for values it does not hold."""
    encoded = {}
    for name in facts.columns:
        if name in codes:
            places = codes[name].get_indexer(pd.Index(facts[name]))
            encoded[name] = np.where(places < 0, np.nan, places)
        else:
            encoded[name] = facts[name].to_numpy(float)
    return encoded
