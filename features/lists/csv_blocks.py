"""A text file with a header in blocks of records that know their line, and its problems.

A block is all that is ever held as Python strings, so a file may have ten million lines.
"""

import csv
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, compress, repeat
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from features.errors import ManifestError
from features.lists.targets import clean_text

BLOCK = 65_536
"""Records that are checked together."""
KEPT = 100
"""Problems of a file that are kept as texts; the others are counted."""
LONGEST = 1 << 20
"""Characters of a line that may be the header."""
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_SEPARATOR = re.compile(r"\"?sep=.?\"?")  # what Excel writes, and reads, before the header


class Records(Protocol):
    """A `csv.reader`."""

    @property
    def line_num(self) -> int: ...

    def __iter__(self) -> Iterator[list[str]]: ...

    def __next__(self) -> list[str]: ...


@dataclass
class Problems:
    """The first problems of a file by line, and the count of all."""

    noun: str = "line"
    """What is counted: lines of a text, rows of a table, entries of metadata."""
    name_line: Callable[[int], str] | None = None
    """What a line is called instead."""
    count: int = 0
    _first: list[tuple[int, str]] = field(default_factory=list)

    def add(self, line: int, problem: str) -> None:
        self.count += 1
        place = self.name_line(line) if self.name_line else f"{self.noun} {line}"
        self._first.append((line, f"{place}: {problem}"))
        if len(self._first) == 2 * KEPT:
            self._sort()

    def list_texts(self) -> list[str]:
        """The first `KEPT`, in the order of lines."""
        self._sort()
        return [text for _, text in self._first]

    def _sort(self) -> None:
        self._first = sorted(self._first, key=itemgetter(0))[:KEPT]


@dataclass
class RecordBlock:
    """Records of one length, by columns, and the line that each of them ends in."""

    columns: list[list[str]]
    lines: list[int]

    def keep(self, mask: npt.NDArray[np.bool_]) -> None:
        """Drops the records that are not in `mask` `(n,)`."""
        self.columns = [list(compress(column, mask)) for column in self.columns]
        self.lines = list(compress(self.lines, mask))


@dataclass
class Table:
    """The columns of a list, as text."""

    header: list[str]
    iterate_blocks: Callable[[Problems, Collection[str]], Iterator[RecordBlock]]
    """The rows, in at least one block, for whoever reads the columns of these names: cells of
    others may be empty. There are no spaces around them."""
    notes: list[str]
    """How it was read, where that is not as it stands."""
    where: str = "line 1"
    """Where the header stands."""
    words: Mapping[str, int] = field(default_factory=dict)
    """Labels by what this form of list calls its classes."""
    advice: str = "A header that names the columns is needed."
    """Where columns lack."""
    has_addresses: bool = False
    """The last column says where pictures are; names are no paths."""


@contextmanager
def open_text(path: Path, wanted: Sequence[str]) -> Iterator[Table]:
    """The table in a UTF-8 text file, with or without BOM and with any kind of line end.

    Columns are separated by whatever gives the `wanted` ones; before the header may stand lines
    that begin with #. Raises `ManifestError` for another encoding.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            yield _read_text(file, wanted, path)
    except UnicodeDecodeError as error:
        advice = "Save the file as UTF-8."
        raise ManifestError(str(path), [_describe_encoding(path)], advice) from error


def _read_text(file: TextIO, wanted: Sequence[str], path: Path) -> Table:
    before, commented, line = 0, "", file.readline(LONGEST)
    while line and (not line.strip() or _SEPARATOR.fullmatch(line.strip()) or line[0] == "#"):
        if line[0] == "#":
            if _fits(line, wanted):
                break
            commented = line.lstrip("# ") if _fits(line.lstrip("# "), wanted) else commented
        before, line = before + 1, file.readline(LONGEST)
    lines = chain(repeat("\n", before), [line], file)  # blank ones keep the count
    if commented and not _fits(line, wanted):
        lines, line = chain(repeat("\n", before - 1), [commented, line], file), commented
    delimiter = _choose_delimiter(line, wanted)
    records = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    header = _read_header(records, path)
    notes = []
    if delimiter != ",":
        notes.append(f"columns are separated by {DELIMITERS[delimiter]}")
    if before and not commented:
        notes.append(f"lines left out before the header: {before}")
    if commented:
        notes.append("the header stands behind a #")
    names = [clean_text(name) for name in header]
    if names != header:
        notes.append("invisible characters left out of the header")

    def iterate(problems: Problems, read: Collection[str]) -> Iterator[RecordBlock]:
        return iterate_records(records, len(names), problems)

    where = f"line {before if commented else before + 1}"
    return Table(names, iterate, notes, where)


def _choose_delimiter(line: str, wanted: Sequence[str]) -> str:
    """What gives the wanted columns; where nothing does, what gives the most."""
    for delimiter in DELIMITERS:
        if set(wanted) <= set(_split(line, delimiter)):
            return delimiter
    return max(DELIMITERS, key=lambda delimiter: len(_split(line, delimiter)))


def _fits(line: str, wanted: Sequence[str]) -> bool:
    return any(set(wanted) <= set(_split(line, delimiter)) for delimiter in DELIMITERS)


def _split(line: str, delimiter: str) -> list[str]:
    try:
        record = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:
        return []
    return [clean_text(name) for name in record]


def _read_header(records: Records, path: Path) -> list[str]:
    """Names of the columns, from the first line that is not blank."""
    try:
        header = next((record for record in records if record), [])
    except csv.Error as error:
        raise ManifestError(str(path), [f"line {records.line_num}: {error}"]) from error
    return [name.strip() for name in header]


def iterate_records(records: Records, width: int, problems: Problems) -> Iterator[RecordBlock]:
    """The records below the header, in at least one block; cells without spaces around them.

    Blank lines are left out, and so are lines of another number of fields than `width`, which are
    `problems`. Ends at a line that cannot be parsed.
    """
    # One list of all cells: lists of records would double the time, in the garbage collector.
    cells: list[str] = []
    lines: list[int] = []
    try:
        for record in records:
            if len(record) == width:
                cells += record
                lines.append(records.line_num)
            elif any(map(str.strip, record)):
                problem = f"{len(record)} fields instead of {width}"
                problems.add(records.line_num, problem)
            if len(lines) == BLOCK:
                yield _build_block(cells, lines, width)
                cells, lines = [], []
    except csv.Error as error:
        problems.add(records.line_num, str(error))
    yield _build_block(cells, lines, width)


def _build_block(cells: list[str], lines: list[int], width: int) -> RecordBlock:
    block = RecordBlock(
        [list(map(str.strip, cells[place::width])) for place in range(width)], lines
    )
    blank = [i for i, cell in enumerate(block.columns[0]) if not cell]
    blank = [i for i in blank if not any(column[i] for column in block.columns)]
    if blank:
        keep = np.ones(len(lines), bool)
        keep[blank] = False
        block.keep(keep)
    return block


def join_blocks(blocks: list[dict[str, Any]]) -> pd.DataFrame:
    """Arrays of several blocks as one table; column by column, so that no more than one of them is
    there twice."""
    columns: dict[str, Any] = {}
    for name in list(blocks[0]):
        parts = [block.pop(name) for block in blocks]
        is_text = isinstance(parts[0], pa.Array)
        columns[name] = pa.concat_arrays(parts) if is_text else np.concatenate(parts)
        if is_text:
            columns[name] = pd.Series(columns[name], dtype="str")
    return pd.DataFrame(columns, copy=False)


def check_file(path: Path) -> None:
    if not path.is_file():
        raise ManifestError(str(path), ["there is no such file"], "data.root or a path below it?")
    with open(path, "rb") as file:
        while content := file.read(1 << 20):
            if content.strip():
                return
    raise ManifestError(str(path), ["the file is empty"])


def _describe_encoding(path: Path) -> str:
    with open(path, "rb") as file:
        is_utf16 = file.read(2) in (b"\xff\xfe", b"\xfe\xff")
    guess = "UTF-16" if is_utf16 else "Latin-1 or the like"
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            try:
                line.encode()
            except UnicodeEncodeError:  # a byte that is no UTF-8
                return f"line {number}: no valid UTF-8 ({guess}?)"
    raise ValueError(f"{path} was changed while it was read")
