"""Rows of lists and manifests, as many as the disk holds: texts lie in files that are mapped."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from features.core.manifest import NO_FOLD, NO_OVERRIDE, SCHEMA, TEXT, Role

BLOCK = 1 << 20
FAKES = 0.81
NUMBERS = {
    "label": -1,
    "override": NO_OVERRIDE,
    "fold": NO_FOLD,
    "subsampling": 2,
    "weight": 1.0,
    "draw_weight": 1.0,
    "width": 512,
    "height": 512,
    "bytes": 61_440,
}
TEXTS = {"format": "JPEG", "mode": "RGB", "quant_tables": "0f3c7a92d1b84e56", "status": "ok"}


def number_texts(before: str, numbers: np.ndarray, after: str, digits: int) -> pa.Array:
    """`before` + number + `after`, the number filled up with zeros."""
    padded = pc.utf8_lpad(pa.array(numbers).cast(pa.large_string()), digits, "0")
    first, last, between = (pa.scalar(text, pa.large_string()) for text in (before, after, ""))
    return pc.binary_join_element_wise(first, padded, last, between)


def write_texts(path: Path, blocks: Iterator[pa.Array]) -> None:
    """A column of texts as a file that can be mapped."""
    schema = pa.schema([("text", pa.large_string())])
    with pa.ipc.new_file(path, schema) as file:
        for block in blocks:
            file.write_batch(pa.record_batch([block], schema=schema))


def map_texts(path: Path) -> pd.Series:
    """A column that `write_texts` wrote; its texts stay in the file."""
    texts: pd.Series = pa.ipc.open_file(pa.memory_map(str(path))).read_all().to_pandas()["text"]
    return texts


def make_lists(folder: Path, n: int) -> None:
    """What a label file would say: `img_name`, `source`, labels."""
    rng = np.random.default_rng(0)
    starts = range(0, n, BLOCK)
    numbers = (np.arange(start, min(start + BLOCK, n)) for start in starts)
    write_texts(folder / "img_name", (number_texts("f/", own, ".jpg", 9) for own in numbers))
    sizes = rng.integers(2, 6, max(n // 5, 1), dtype=np.int8)
    sizes = sizes[np.cumsum(sizes, dtype=np.int64) <= 0.3 * n]
    sources = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    rest = len(sizes) + np.arange(n - len(sources), dtype=np.int32)
    sources = rng.permutation(np.concatenate([sources, rest]))
    blocks = (number_texts("video_", sources[start : start + BLOCK], "", 9) for start in starts)
    write_texts(folder / "source", blocks)
    np.save(folder / "label.npy", (rng.random(n, np.float32) < FAKES).astype(np.int8))


class MadeColumns:
    """Those of a manifest whose rows are the list's, and whose files are all alike."""

    def __init__(self, folder: Path, role: Role) -> None:
        self._texts = {name: map_texts(folder / name) for name in ("img_name", "source")}
        arrays = ("label", "fold", "group") if role == "train" else ("group",)
        self._arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in arrays}

    def __len__(self) -> int:
        return len(self._texts["img_name"])

    def read(self, name: str, block: slice = slice(None)) -> pd.Series:
        """See `ColumnReader`."""
        if name in self._texts:
            return self._texts[name].iloc[block]
        if name in self._arrays:
            return pd.Series(np.array(self._arrays[name][block]))
        start, stop, _ = block.indices(len(self))
        rows = np.arange(start, stop)
        if name == "row_id":
            return pd.Series(rows)
        if SCHEMA[name] != TEXT:
            return pd.Series(np.full(len(rows), NUMBERS.get(name, 0), SCHEMA[name]))
        if name == "path":
            texts = number_texts("images/f/", rows, ".jpg", 9)
        elif name == "sha256":
            texts = number_texts("", rows, "", 64)
        else:
            texts = pa.repeat(pa.scalar(TEXTS.get(name, ""), pa.large_string()), len(rows))
        return pd.Series(texts, dtype="str")
