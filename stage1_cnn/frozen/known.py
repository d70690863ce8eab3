"""Embeddings of pictures that another list held, too: a list that grows costs its new pictures.

names = name_squares(train, squares)
copied = copy_known(blocks, names, list_relatives(folder, key))
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from filelock import FileLock, Timeout

from features.artifacts.row_blocks import Layout, RowBlocks
from features.core.files import read_sealed
from features.core.manifest import Manifest
from features.errors import PipelineError
from stage1_cnn.frozen.embedded import BLOCK, Squares

KEY = "key.json"
LOCK = "lock"
ARRAY = "rows"
OF_THE_LIST = {"role", "pictures", "squares"}
"""What of a folder's key says which pictures it holds; all else says what an embedding is."""
NAME_BYTES = 16
Names = npt.NDArray[np.uint8]


def name_squares(manifest: Manifest, squares: Squares) -> Names:
    """`(m, 16)` what each square is known by: a digest of its picture and its corner."""
    sha256s = manifest.read("sha256").iloc[squares.shown].tolist()
    if squares.corners is not None:
        corners = squares.corners.tolist()
        sha256s = [f"{own}@{y},{x}" for own, (y, x) in zip(sha256s, corners, strict=True)]
    digests = (hashlib.sha256(text.encode()).digest()[:NAME_BYTES] for text in sha256s)
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, NAME_BYTES)


def open_blocks(folder: Path, count: int, width: int) -> RowBlocks:
    """What a folder holds of so many squares, and embeddings of this length."""
    layouts: dict[str, Layout] = {
        "embeddings": (np.float32, (count, width)),
        "names": (np.uint8, (count, NAME_BYTES)),
    }
    return RowBlocks(folder, ARRAY, count, layouts)


def list_relatives(folder: Path, key: dict[str, Any], width: int) -> Iterator[RowBlocks]:
    """What other folders beside this one hold by the same encoder; the newest ones first, and none
    that another process fills."""
    own = _say_what(key)
    for path in sorted(folder.parent.glob(f"*/{KEY}"), key=_tell_age, reverse=True):
        try:
            other = read_sealed(path, "")["key"]
        except PipelineError:  # damaged, or cut off: nothing is lost but time
            continue
        if path.parent != folder and _say_what(other) == own:
            with suppress(Timeout), FileLock(path.parent / LOCK, timeout=0):
                yield open_blocks(path.parent, other["squares"], width)


def copy_known(blocks: RowBlocks, names: Names, relatives: Iterator[RowBlocks]) -> int:
    """Copies what `relatives` hold of the squares `names` that `blocks` lack, and counts them."""
    copied = 0
    while (lacking := _list_rows(blocks.list_missing())).size:
        other = next(relatives, None)
        if other is None:
            break
        embeddings, known = other.map_arrays()
        there = np.setdiff1d(np.arange(len(known)), _list_rows(other.list_missing()))
        mine = _index(names[lacking], lacking)
        theirs = _index(known[there], there).drop_duplicates(["a", "b"])
        both = mine.merge(theirs, on=["a", "b"]).sort_values("row_x")
        places, sources = both["row_x"].to_numpy(), both["row_y"].to_numpy()
        breaks = np.flatnonzero(np.diff(places) != 1) + 1
        runs = zip(np.split(places, breaks), np.split(sources, breaks), strict=True)
        for run, source in runs:
            for i in range(0, len(run), BLOCK):
                part = run[i : i + BLOCK]
                blocks.add(int(part[0]), [embeddings[source[i : i + BLOCK]], names[part]])
        blocks.save()
        copied += len(places)
    return copied


def _say_what(key: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in key.items() if name not in OF_THE_LIST}


def _tell_age(path: Path) -> float:
    return path.stat().st_mtime


def _list_rows(spans: Sequence[tuple[int, int]]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.empty(0, np.int64), *(np.arange(*span) for span in spans)])


def _index(names: npt.NDArray[Any], rows: npt.NDArray[np.int64]) -> pd.DataFrame:
    halves = np.ascontiguousarray(names).view(np.uint64)
    return pd.DataFrame({"a": halves[:, 0], "b": halves[:, 1], "row": rows})
