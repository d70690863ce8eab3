"""Label files into rows: checked line by line, all problems of a file reported together."""

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pandas as pd

from features.errors import ManifestError
from features.manifest import NO_LABEL
from features.params import suggest_name
from features.prepare_params import Data, RoleFiles

MAX_NAME_BYTES = 255


@dataclass
class _Reader:
    """What is collected while the lines of one file are read."""

    data: Data
    files: RoleFiles
    labelled: bool
    width: int = 0
    places: dict[str, int] = field(default_factory=dict)
    first_rows: dict[str, tuple[object, ...]] = field(default_factory=dict)
    rows: list[tuple[object, ...]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    repeated: int = 0


def read_labels(data: Data, files: RoleFiles, labelled: bool) -> tuple[pd.DataFrame, int]:
    """Rows of one label file, and the number of repeated lines that were dropped.

    Columns: `line` (its number in the file), `img_name`, `path` (relative to the data root),
    `label` (-1 where not `labelled`), `weight`, `generator` and `list_group_keys`.
    Raises `ManifestError` with every bad line.
    """
    path = Path(data.root) / files.labels
    text = _read_text(path)
    lines = csv.reader(io.StringIO(text), skipinitialspace=True, strict=True)
    reader = _Reader(data, files, labelled)
    try:
        _read_header(reader, next(lines, []), path)
        _read_rows(reader, lines)
    except csv.Error as error:
        reader.problems.append(f"line {lines.line_num}: {error}")
    if not reader.rows and not reader.problems and labelled:
        reader.problems.append("there is no row below the header")
    if reader.problems:
        raise ManifestError(str(path), reader.problems)
    names = ["line", "img_name", "path", "label", "weight", "generator", *list_group_keys(data)]
    return pd.DataFrame(reader.rows, columns=names), reader.repeated


def list_group_keys(data: Data) -> list[str]:
    """Names of `data.group_columns` in the rows: a file may well call its own column `path`."""
    return [f"group:{column}" for column in data.group_columns]


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise ManifestError(str(path), ["there is no such file"], "data.root or a path below it?")
    content = path.read_bytes()
    if not content.strip():
        raise ManifestError(str(path), ["the file is empty"])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        guess = "UTF-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "Latin-1 or the like"
        problem = f"line {line}: no valid UTF-8 ({guess}?)"
        raise ManifestError(str(path), [problem], "Save the file as UTF-8.") from error
    # Null bytes are found by the path check; every kind of line end is one line.
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _read_header(reader: _Reader, header: list[str], path: Path) -> None:
    columns = reader.data.columns
    names = [name.strip() for name in header]
    wanted = [columns.name]
    if reader.labelled:
        optional = (columns.weight, columns.generator)
        wanted += [columns.target, *(name for name in optional if name)]
        wanted += reader.data.group_columns
    problems = []
    for name in wanted:
        if name not in names:
            problems.append(f"line 1: no column {name!r}{suggest_name(name, names)}")
        elif names.count(name) > 1:
            problems.append(f"line 1: column {name!r} stands twice")
    if problems:
        raise ManifestError(str(path), problems, "A header of comma-separated names is needed.")
    reader.width = len(names)
    reader.places = {name: i for i, name in enumerate(names)}


def _read_rows(reader: _Reader, lines: Iterator[list[str]]) -> None:
    for cells in lines:
        line = lines.line_num  # type: ignore[attr-defined]
        values = [cell.strip() for cell in cells]
        if not any(values):
            continue
        if len(values) != reader.width:
            problem = f"line {line}: {len(values)} fields instead of {reader.width}"
            reader.problems.append(problem)
            continue
        _read_row(reader, line, values)


def _read_row(reader: _Reader, line: int, values: list[str]) -> None:
    columns = reader.data.columns
    name = values[reader.places[columns.name]]
    if problem := find_path_problem(name):
        reader.problems.append(f"line {line}: {name!r} {problem}")
        return
    label, weight = NO_LABEL, 1.0
    generator, groups = "", [""] * len(reader.data.group_columns)
    if reader.labelled:
        label = _read_target(reader, line, values[reader.places[columns.target]])
        if columns.weight:
            weight = _read_weight(reader, line, values[reader.places[columns.weight]])
        if columns.generator:
            generator = values[reader.places[columns.generator]]
        groups = [values[reader.places[column]] for column in reader.data.group_columns]
    path = str(PurePosixPath(reader.files.images) / name)
    row = (line, name, path, label, weight, generator, *groups)
    if name in reader.first_rows:
        _note_repeated(reader, row, reader.first_rows[name])
        return
    reader.first_rows[name] = row
    reader.rows.append(row)


def _read_target(reader: _Reader, line: int, text: str) -> int:
    classes = reader.data.classes
    if text in classes.real:
        return 0
    if text in classes.fake:
        return 1
    known = ", ".join([*classes.real, *classes.fake])
    reader.problems.append(f"line {line}: target {text!r} is none of {known} (data.classes)")
    return NO_LABEL


def _read_weight(reader: _Reader, line: int, text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not (math.isfinite(weight) and weight > 0):
        reader.problems.append(f"line {line}: weight {text!r} is no positive number")
    return weight


def _note_repeated(reader: _Reader, row: tuple[object, ...], first: tuple[object, ...]) -> None:
    if row[1:] != first[1:]:
        line, name, _, label, *_ = row
        what = "target" if label != first[3] else "weight, generator or group"
        reader.problems.append(f"line {line}: {name!r} has another {what} than in line {first[0]}")
    reader.repeated += 1


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
