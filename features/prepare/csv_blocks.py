"""A comma-separated text file in blocks of records that know their line, and its problems.

A block is all that is ever held as Python strings, so a file may have ten million lines.
"""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import compress
from operator import itemgetter
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from features.errors import ManifestError

BLOCK = 65_536
"""Records that are checked together."""
KEPT = 100
"""Problems of a file that are kept as texts; the others are counted."""


class Records(Protocol):
    """A `csv.reader`."""

    @property
    def line_num(self) -> int: ...

    def __iter__(self) -> Iterator[list[str]]: ...

    def __next__(self) -> list[str]: ...


@dataclass
class Problems:
    """The first problems of a file by line, and the count of all."""

    count: int = 0
    _first: list[tuple[int, str]] = field(default_factory=list)

    def add(self, line: int, problem: str) -> None:
        self.count += 1
        self._first.append((line, f"line {line}: {problem}"))
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


@contextmanager
def open_records(path: Path) -> Iterator[Records]:
    """Records of a UTF-8 file, with or without BOM and with any kind of line end.

    Raises `ManifestError` if there is none, if it is empty or in another encoding.
    """
    _check_file(path)
    try:
        with open(path, encoding="utf-8-sig") as file:
            yield csv.reader(file, skipinitialspace=True, strict=True)
    except UnicodeDecodeError as error:
        advice = "Save the file as UTF-8."
        raise ManifestError(str(path), [_describe_encoding(path)], advice) from error


def read_header(records: Records, path: Path) -> list[str]:
    """Names of the columns; none if the first line is empty."""
    try:
        return [name.strip() for name in next(records, [])]
    except csv.Error as error:
        raise ManifestError(str(path), [f"line {records.line_num}: {error}"]) from error


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


def _check_file(path: Path) -> None:
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
