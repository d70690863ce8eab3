"""A list as a table of text, whatever file it comes in: text, Parquet, or metadata in JSON."""

import json
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.errors import ManifestError
from features.lists.csv_blocks import (
    BLOCK,
    Problems,
    RecordBlock,
    Table,
    check_file,
    open_text,
)
from features.lists.file_names import is_utf8

ORIGINAL = "original"
"""Field of DFDC's metadata: the video that a fake was made from."""
WORDS = {"real": 0, "fake": 1}
"""What that metadata calls its classes."""
EMPTY = {"", "nan", "na", "n/a", "#n/a", "<na>", "null", "none"}
"""Cells, in any case, that hold nothing: what R, pandas and spreadsheets write for it."""
_ARCHIVES = {
    b"PK\x03\x04": ("an Excel workbook or a zip archive", "Save its table as CSV (UTF-8)."),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook", "Save its table as CSV (UTF-8)."),
    b"\x1f\x8b": ("compressed", "Unpack it with gunzip."),
}


def read_number(text: str) -> float:
    """A cell as a number, with a point or, as where semicolons separate columns, a comma.

    Raises `ValueError`.
    """
    return float(text.replace(",", "."))


def read_weights(
    block: RecordBlock, place: int, problems: Problems, rows: int
) -> npt.NDArray[np.float64]:
    """`(rows,)`: 1 where no column is read; what is no positive number is a problem."""
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
        weight = read_number(text)
    except ValueError:
        return 0.0
    return weight if 0 < weight < math.inf else 0.0


def blank_empty(cells: Sequence[str], counts: Counter[str]) -> Sequence[str]:
    """`cells`, empty where they hold nothing; adds to `counts` the words that said so."""
    words = {cell for cell in {*cells} if cell and cell.casefold() in EMPTY}
    if not words:
        return cells
    counts.update(cell for cell in cells if cell in words)
    return ["" if cell in words else cell for cell in cells]


def tell_empty(column: str, counts: Mapping[str, int]) -> list[str]:
    """One line for each word in a column: `'NA' in column 'clip' read as empty: 40`."""
    return [f"{word!r} in column {column!r} read as empty: {n:,}" for word, n in counts.items()]


@contextmanager
def open_table(path: Path, wanted: Sequence[str]) -> Iterator[Table]:
    """The table in a file, told by its content; `wanted` are names of columns.

    The first of them is that of the names, the second, if any, that of the targets. Raises
    `ManifestError`.
    """
    check_file(path)
    with open(path, "rb") as file:
        head = file.read(4096)
    for magic, (kind, advice) in _ARCHIVES.items():
        if head.startswith(magic):
            raise ManifestError(str(path), [f"it is {kind}, not a table of text"], advice)
    if head.startswith(b"PAR1"):
        yield _read_parquet(path)
    elif head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{":
        yield _read_metadata(path, wanted)
    else:
        with open_text(path, wanted) as table:
            yield table


def _read_parquet(path: Path) -> Table:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise ManifestError(str(path), [f"no whole Parquet file: {error}"]) from error

    header = file.schema_arrow.names

    def iterate(problems: Problems, read: Collection[str]) -> Iterator[RecordBlock]:
        problems.noun = "row"
        start, wanted = 1, [name for name in header if name in read]
        try:
            for batch in file.iter_batches(BLOCK, columns=wanted):
                before, blank = problems.count, [""] * len(batch)
                texts = {name: _read_texts(batch, name, start, problems) for name in wanted}
                if problems.count > before:
                    break
                lines = list(range(start, start + len(batch)))
                yield RecordBlock([texts.get(name, blank) for name in header], lines)
                start += len(batch)
        except (pa.ArrowException, OSError) as error:
            problems.add(start, f"cannot be read: {error}")
        if start == 1:
            yield RecordBlock([[] for _ in header], [])

    return Table(header, iterate, ["read as Parquet"])


def _read_texts(batch: pa.RecordBatch, name: str, start: int, problems: Problems) -> list[str]:
    """Cells of a column; none where they cannot be texts, which is a problem."""
    try:
        texts = pc.fill_null(pc.cast(batch.column(name), pa.large_string()), "").to_pylist()
    except (pa.ArrowException, ValueError) as error:  # ValueError: text that is no UTF-8
        problems.add(start, f"column {name!r} cannot be read as text: {error}")
        return []
    return [*map(str.strip, texts)]


def _read_metadata(path: Path, wanted: Sequence[str]) -> Table:
    """DFDC's form: `{name: {"label": "REAL" or "FAKE", "original": name, …}}`.

    A real is its own original, so that it stays together with what was made from it.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ManifestError(str(path), [f"no valid JSON: {error}"]) from error
    odd = [name for name, facts in entries.items() if not isinstance(facts, Mapping)]
    if odd:
        problem = f"{odd[0]!r} has no fields"
        advice = 'The form that is read: {"a.png": {"label": "FAKE", "original": "b.png"}}'
        raise ManifestError(str(path), [problem], advice, count=len(odd))
    fields = [*filter(is_utf8, dict.fromkeys(key for of in entries.values() for key in of))]
    name, *targets = wanted
    sources = {name: "", **{key: key for key in fields}, ORIGINAL: ORIGINAL}
    if targets and targets[0] not in fields and "label" in fields:
        sources[targets[0]] = "label"
    columns = {header: [_read_field(n, f, key) for n, f in entries.items()]
               for header, key in sources.items()}  # fmt: skip

    def iterate(problems: Problems, read: Collection[str]) -> Iterator[RecordBlock]:
        problems.noun = "entry"
        places = [place for place, header in enumerate(columns) if header in read]
        for start in range(0, max(len(entries), 1), BLOCK):
            stop = min(start + BLOCK, len(entries))
            cells = [column[start:stop] for column in columns.values()]
            block = RecordBlock(cells, list(range(start + 1, stop + 1)))
            _drop_odd(block, places, problems)
            yield block

    notes = ["read as metadata in JSON; a picture stays together with its original"]
    known = [str(of[ORIGINAL]) for of in entries.values() if of.get(ORIGINAL) is not None]
    counts: Counter[str] = Counter()
    blank_empty([*map(str.strip, known)], counts)
    notes += tell_empty(ORIGINAL, counts)
    return Table(list(columns), iterate, notes, words=WORDS)


def _drop_odd(block: RecordBlock, places: Sequence[int], problems: Problems) -> None:
    """Entries with half a character in a column at `places`, as `\\ud800` is, are problems."""
    odd: dict[int, str] = {}
    for cells in (block.columns[place] for place in places):
        if not is_utf8("".join(cells)):
            odd |= {i: cell for i, cell in enumerate(cells) if not is_utf8(cell)}
    for i, cell in odd.items():
        problems.add(block.lines[i], f"{cell!r} is no valid text: it has half a character")
    if odd:
        block.keep(~np.isin(np.arange(len(block.lines)), list(odd)))


def _read_field(name: str, facts: Mapping[str, Any], key: str) -> str:
    value = facts.get(key) if key else name
    text = "" if value is None else str(value).strip()
    return name if key == ORIGINAL and text.casefold() in EMPTY else text
