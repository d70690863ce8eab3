"""Label files into rows: checked line by line, all problems of a file reported together."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from features.core.manifest import NO_LABEL
from features.errors import SHOWN, ManifestError
from features.prepare.csv_blocks import (
    Problems,
    RecordBlock,
    iterate_records,
    open_records,
    read_header,
)
from features.settings.data import Data, RoleFiles
from features.settings.sections import suggest_name
from features.splits.names import link_repeated

MAX_NAME_BYTES = 255
ODD_NAME = r"\\|\x00|\.\.|//|\A/|/\z|(\A|/)\.(/|\z)|\A\z"
"""What a name has that `find_path_problem` refuses or `PurePosixPath` spells otherwise, but for
its length: a first look at very many names."""
TEXT = pa.large_string()
_log = logging.getLogger("forgerystack")


@dataclass(frozen=True)
class _Layout:
    """What the cells of a line are: places of columns, -1 for those that are not read."""

    name: int
    target: int
    numbers: Mapping[str, int]
    texts: Mapping[str, int]
    """Columns of the result to the places that they are copied from, as are `numbers`."""
    labels: Mapping[str, int]
    folder: PurePosixPath


def read_labels(
    data: Data, files: RoleFiles, labelled: bool, hold_out: Sequence[str] = ()
) -> tuple[pd.DataFrame, int]:
    """Rows of one label file, and the number of repeated lines that were dropped.

    Columns: `line` (its number in the file), `img_name`, `path` (relative to the data root),
    `label` (-1 where not `labelled`), `weight`, `draw_weight`, `generator`, `unit`,
    `list_group_keys` and, of a file that is `labelled`, `hold:<column>` for each column of
    `hold_out`. A file that is not may lack the column of units.
    Raises `ManifestError` with the first bad lines and the count of all.
    """
    if files.labels is None:
        raise ValueError("there is no label file to read")
    path = Path(data.root) / files.labels
    problems = Problems()
    with open_records(path) as records:
        header = read_header(records, path)
        layout = _find_columns(header, data, files, labelled, hold_out, path)
        parts = iterate_records(records, len(header), problems)
        blocks = [_read_block(block, layout, problems) for block in parts]
    rows, repeated = _drop_repeated(_join_blocks(blocks), problems)
    if problems.count:
        raise ManifestError(str(path), problems.list_texts(), count=problems.count)
    if labelled and not len(rows):
        raise ManifestError(str(path), ["there is no row below the header"])
    return rows, repeated


def list_group_keys(data: Data) -> list[str]:
    """Columns of the rows whose values keep rows together: of `data.group_columns`, and `unit`.

    The former are renamed, as a file may well call its own column `path`.
    """
    keys = [f"group:{column}" for column in data.group_columns]
    return [*keys, "unit"] if data.columns.unit else keys


def check_hold_out(rows: pd.DataFrame, hold_out: Mapping[str, Sequence[str]]) -> None:
    """Raises `ManifestError` with each value to hold out that no row has."""
    problems = []
    for column, values in hold_out.items():
        known = pd.Series(rows[f"hold:{column}"].unique()).sort_values()
        shown = ", ".join(repr(value) for value in known.head(SHOWN))
        listed = f"{shown}{' …' if len(known) > SHOWN else ''} ({len(known)} values)"
        for value in values:
            if not (known == value).any():
                problems.append(f"split.hold_out.{column}: no row has {value!r}; known: {listed}")
    if problems:
        raise ManifestError("train", problems)


def _find_columns(
    header: list[str],
    data: Data,
    files: RoleFiles,
    labelled: bool,
    hold_out: Sequence[str],
    path: Path,
) -> _Layout:
    columns, classes = data.columns, data.classes
    texts: dict[str, str] = {}
    numbers: dict[str, str] = {}
    wanted = [columns.name]
    if columns.unit and (labelled or columns.unit in header):
        texts["unit"] = columns.unit
    elif columns.unit:
        _log.info(
            "prepare: %s has no column %r: each image is a unit of its own", path, columns.unit
        )
    if labelled:
        texts |= {"generator": columns.generator} if columns.generator else {}
        texts |= {f"group:{column}": column for column in data.group_columns}
        texts |= {f"hold:{column}": column for column in hold_out}
        named = {"weight": columns.weight, "draw_weight": columns.draw_weight}
        numbers = {column: name for column, name in named.items() if name}
        wanted += [columns.target, *numbers.values()]
    wanted += texts.values()
    problems = []
    for name in dict.fromkeys(wanted):
        if name not in header:
            problems.append(f"line 1: no column {name!r}{suggest_name(name, header)}")
        elif header.count(name) > 1:
            problems.append(f"line 1: column {name!r} stands twice")
    if problems:
        raise ManifestError(str(path), problems, "A header of comma-separated names is needed.")
    absent = dict.fromkeys(["generator", "unit", *list_group_keys(data)], -1)
    return _Layout(
        name=header.index(columns.name),
        target=header.index(columns.target) if labelled else -1,
        numbers={
            "weight": -1,
            "draw_weight": -1,
            **{column: header.index(name) for column, name in numbers.items()},
        },
        texts={**absent, **{column: header.index(name) for column, name in texts.items()}},
        labels={**dict.fromkeys(classes.real, 0), **dict.fromkeys(classes.fake, 1)},
        folder=PurePosixPath(files.images),
    )


def _read_block(block: RecordBlock, layout: _Layout, problems: Problems) -> dict[str, Any]:
    """Columns of the rows of one block, as arrays of NumPy and of Arrow."""
    names, paths = _read_names(block, layout, problems)
    labels = np.full(len(names), NO_LABEL, np.int8)
    if layout.target >= 0:
        labels = _read_targets(block, layout, problems)
    columns = {"img_name": names, "path": paths, "label": labels}
    for column, place in layout.numbers.items():
        columns[column] = _read_weights(block, place, problems, len(names))
    for column, place in layout.texts.items():
        texts = block.columns[place] if place >= 0 else [""] * len(names)
        columns[column] = pa.array(texts, TEXT)
    return {"line": np.asarray(block.lines, np.int64), **columns}


def _read_names(
    block: RecordBlock, layout: _Layout, problems: Problems
) -> tuple[pa.Array, pa.Array]:
    """Names and paths of a block's rows; drops those that may not be opened."""
    names = pa.array(block.columns[layout.name], TEXT)
    prefix = str(layout.folder / "-")[:-1]
    paths = pc.binary_join_element_wise(pa.scalar(prefix, TEXT), names, pa.scalar("", TEXT))
    long = pc.greater(pc.binary_length(names), MAX_NAME_BYTES)
    is_odd = pc.or_(pc.match_substring_regex(names, ODD_NAME), long)
    odd = np.flatnonzero(is_odd)
    if not len(odd):
        return names, paths
    keep, mended = np.ones(len(names), bool), []
    for i in odd:
        name = block.columns[layout.name][i]
        mended.append(str(layout.folder / name))
        if problem := find_path_problem(name):
            problems.add(block.lines[i], f"{name!r} {problem}")
            keep[i] = False
    paths = pc.replace_with_mask(paths, is_odd, pa.array(mended, TEXT))
    block.keep(keep)
    return names.filter(pa.array(keep)), paths.filter(pa.array(keep))


def _read_targets(block: RecordBlock, layout: _Layout, problems: Problems) -> npt.NDArray[np.int8]:
    texts = block.columns[layout.target]
    found = map(layout.labels.get, texts, repeat(NO_LABEL))
    labels = np.fromiter(found, np.int8, len(texts))
    for i in np.flatnonzero(labels == NO_LABEL):
        known = ", ".join(layout.labels)
        problems.add(block.lines[i], f"target {texts[i]!r} is none of {known} (data.classes)")
    return labels


def _read_weights(
    block: RecordBlock, place: int, problems: Problems, rows: int
) -> npt.NDArray[np.float64]:
    if place < 0:
        return np.ones(rows)
    texts = block.columns[place]
    weights = np.fromiter(map(_parse_weight, texts), np.float64, len(texts))
    for i in np.flatnonzero(weights == 0):
        problems.add(block.lines[i], f"weight {texts[i]!r} is no positive number")
    return weights


def _parse_weight(text: str) -> float:
    """0 for what is no positive number."""
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if 0 < weight < math.inf else 0.0


def _join_blocks(blocks: list[dict[str, Any]]) -> pd.DataFrame:
    """One table; column by column, so that no more than one of them is there twice."""
    columns: dict[str, Any] = {}
    for name in list(blocks[0]):
        parts = [block.pop(name) for block in blocks]
        is_text = isinstance(parts[0], pa.Array)
        columns[name] = pa.concat_arrays(parts) if is_text else np.concatenate(parts)
        if is_text:
            columns[name] = pd.Series(columns[name], dtype="str")
    return pd.DataFrame(columns, copy=False)


def _drop_repeated(rows: pd.DataFrame, problems: Problems) -> tuple[pd.DataFrame, int]:
    """`rows` without those whose name stands above, and how many these are."""
    first, again = link_repeated(rows["img_name"]).T
    if not len(again):
        return rows, 0
    one, other = (rows.iloc[i].reset_index(drop=True) for i in (first, again))
    sources = [str(c) for c in rows.columns if c not in ("line", "img_name", "path", "label")]
    differ = {c: (one[c] != other[c]).to_numpy(bool) for c in ("label", *sources)}
    held = any(column.startswith("hold:") for column in sources)
    others = f"weight, generator{', group or value to hold out' if held else ' or group'}"
    wrong = np.logical_or.reduce(list(differ.values()))
    lines = zip(other["line"][wrong], one["line"][wrong], strict=True)
    named = zip(other["img_name"][wrong], differ["label"][wrong], strict=True)
    for (line, above), (name, by_label) in zip(lines, named, strict=True):
        what = "target" if by_label else others
        problems.add(line, f"{name!r} has another {what} than in line {above}")
    keep = np.ones(len(rows), bool)
    keep[again] = False
    return rows[keep].reset_index(drop=True), len(again)


def find_path_problem(name: str) -> str:
    """Why a name from a label file may not be opened, or an empty string.

    Links are followed, and checked to stay inside the data root, where files are opened.
    """
    if not name or name == ".":
        return "is no file name"
    if "\0" in name:
        return "holds a null byte"
    if "\\" in name:
        return "holds a backslash: use / between folders"
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        return "is outside the data root"
    if any(len(part.encode()) > MAX_NAME_BYTES for part in path.parts):
        return f"has a part longer than {MAX_NAME_BYTES} bytes"
    return ""
