"""Names of a list as paths below its folder, and which of them may be opened at all."""

import re
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from features.core.manifest import Ids
from features.lists.csv_blocks import Problems, RecordBlock

MAX_NAME_BYTES = 255
ODD_NAME = r"\\|\x00|\.\.|//|\A/|/\z|(\A|/)\.(/|\z)|\A\z|\A[A-Za-z]:/"
"""What a name has that `find_path_problem` refuses or `PurePosixPath` spells otherwise, but for
its length: a first look at very many names."""
OUTSIDE = "is outside the data root"
TEXT = pa.large_string()
_DRIVE = re.compile("[A-Za-z]:/")


def read_names(
    block: RecordBlock, place: int, folder: PurePosixPath, problems: Problems
) -> tuple[pa.Array, pa.Array]:
    """Names in the column at `place`, and paths; drops the rows of those that may not be opened.

    Paths of names that lead elsewhere, as those of another machine do, are empty: which picture
    they mean is still to be found.
    """
    names = pa.array(block.columns[place], TEXT)
    prefix = str(folder / "-")[:-1]
    paths = pc.binary_join_element_wise(pa.scalar(prefix, TEXT), names, pa.scalar("", TEXT))
    long = pc.greater(pc.binary_length(names), MAX_NAME_BYTES)
    is_odd = pc.or_(pc.match_substring_regex(names, ODD_NAME), long)
    odd = np.flatnonzero(is_odd)
    if not len(odd):
        return names, paths
    keep, mended = np.ones(len(names), bool), []
    for i in odd:
        name = block.columns[place][i]
        plain = name.replace("\\", "/")
        problem = find_path_problem(plain)
        mended.append("" if problem else str(folder / plain))
        if problem and problem != OUTSIDE:
            problems.add(block.lines[i], f"{name!r} {problem}")
            keep[i] = False
    paths = pc.replace_with_mask(paths, is_odd, pa.array(mended, TEXT))
    block.keep(keep)
    return names.filter(pa.array(keep)), paths.filter(pa.array(keep))


def find_path_problem(name: str) -> str:
    """Why a name from a label file may not be opened, or an empty string.

    Links are followed, and checked to stay inside the data root, where files are opened.
    """
    if not name or name == ".":
        return "is no file name"
    if "\0" in name:
        return "holds a null byte"
    path = PurePosixPath(name)
    if any(len(part.encode()) > MAX_NAME_BYTES for part in path.parts):
        return f"has a part longer than {MAX_NAME_BYTES} bytes"
    if path.is_absolute() or ".." in path.parts or _DRIVE.match(name):
        return OUTSIDE
    return ""


def is_utf8(name: str) -> bool:
    """Whether a name that the system gave is text."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def drop_listed_twice(
    rows: pd.DataFrame, twice: Ids, problems: Problems
) -> tuple[pd.DataFrame, int]:
    """`rows` without the second of each pair of `twice` `(m, 2)`, and how many these are.

    Adds those that say something else than the first to `problems`.
    """
    first, again = twice.T
    if not len(again):
        return rows, 0
    one, other = (rows.iloc[i].reset_index(drop=True) for i in (first, again))
    facts = [str(c) for c in rows.columns if c not in ("line", "img_name", "path", "label")]
    differ = {c: (one[c] != other[c]).to_numpy(bool) for c in ("label", *facts)}
    held = any(column.startswith("hold:") for column in facts)
    others = f"weight, generator, source{', group or value to hold out' if held else ' or group'}"
    wrong = np.logical_or.reduce(list(differ.values()))
    pairs = (other[wrong], one[wrong])
    lines = zip(*(rows["line"] for rows in pairs), strict=True)
    spelt = zip(*(rows["img_name"] for rows in pairs), strict=True)
    for (line, above), (name, before), by_label in zip(
        lines, spelt, differ["label"][wrong], strict=True
    ):
        what = "target" if by_label else others
        named = "" if name == before else f"{before!r} "
        problems.add(line, f"{name!r} has another {what} than {named}in line {above}")
    keep = np.ones(len(rows), bool)
    keep[again] = False
    return rows[keep].reset_index(drop=True), len(again)
