"""What one shard holds: the pictures in a tar archive or a Parquet table, and columns beside them.

In a tar, as WebDataset writes it, `KEY.cls` is the target of `KEY.jpg`, and the fields of
`KEY.json` are columns; a Parquet table has its own.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from features.errors import SHOWN, PictureError
from features.lists.csv_blocks import KEPT
from features.lists.file_names import MAX_NAME_BYTES, ODD_NAME, TEXT, find_path_problem, is_utf8
from features.lists.folders import LITTER
from features.shards.names import AT, MEDIA_ENDINGS, PARQUET, ROW, ShardMember
from features.shards.tables import ImageTable, open_image_table
from features.shards.tar import PackedFile, list_tar

LONGEST = 1 << 20
"""Bytes of a `.cls` or `.json` file."""
MOST_FIELDS = 1000
"""Names of fields that are remembered of a shard."""
_LITTERED = "hidden files, and what systems leave in archives, are skipped"
_ONE = (
    ": leave all but one of each out (a mask is no row), give each its own .cls or .json, or name "
    "the rows in a list (labels)"
)
_NUMBERED = "pictures are called by the numbers of their rows: no column has plain names, each once"


class Wanted(NamedTuple):
    """Columns that are read of shards."""

    name: str
    target: str
    """Empty where there is a list beside them, or nothing to learn."""
    others: tuple[str, ...]

    @property
    def columns(self) -> list[str]:
        """All but the name."""
        return list(dict.fromkeys(filter(None, [self.target, *self.others])))


@dataclass(frozen=True)
class ListedShard:
    """Pictures of one shard, `(n,)` texts each, in its order."""

    names: pa.Array
    addresses: pa.Array
    columns: dict[str, pa.Array]
    """Those that are wanted, empty cells where the shard has none."""
    fields: list[str]
    """Names of all columns that there are."""
    has_words: bool
    """Targets are the names of classes."""
    notes: list[str]
    problems: list[str]
    """The first `KEPT`; the shard is not read any further then."""


@dataclass
class _Found:
    """A shard as it is read."""

    columns: dict[str, list[str]]
    names: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    fields: dict[str, None] = field(default_factory=dict)
    has_words: bool = False
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def list_shard(place: str, shard: str, wanted: Wanted) -> ListedShard:
    """What the shard at `place`, called `shard`, holds: work of one thread or process."""
    found = _Found({column: [] for column in wanted.columns})
    try:
        if shard.lower().endswith(PARQUET):
            _list_table(place, shard, wanted, found)
        else:
            with open(place, "rb") as file:
                _list_tar(file, shard, wanted, found)
    except PictureError as error:
        found.problems += error.problems
    except OSError as error:
        found.problems.append(f"cannot be read: {error.strerror}")
    names, addresses = (pa.array(texts, TEXT) for texts in (found.names, found.addresses))
    columns = {column: pa.array(texts, TEXT) for column, texts in found.columns.items()}
    told = (found.has_words, found.notes, found.problems)
    return ListedShard(names, addresses, columns, [*found.fields], *told)


def _list_tar(file: BinaryIO, shard: str, wanted: Wanted, found: _Found) -> None:
    facts: dict[str, dict[str, str]] = {}
    for packed in list_tar(Path(file.name)):
        name = str(PurePosixPath(packed.name))  # ./a.jpg is a.jpg
        if len(found.problems) >= KEPT:
            break
        if _is_litter(name):
            found.notes[:] = [_LITTERED]
        elif name.lower().endswith(MEDIA_ENDINGS):
            if problem := find_path_problem(name) if is_utf8(name) else "is no valid UTF-8":
                found.problems.append(f"{name!r} {problem}")
                continue
            found.names.append(name)
            found.addresses.append(str(ShardMember(shard, AT, packed.offset, packed.size, name)))
        elif wanted.columns and name.lower().endswith((".cls", ".json")):
            stem, _, ending = name.rpartition(".")
            own = facts.setdefault(stem, {})
            _read_facts(file, packed, ending.lower(), wanted, own, found)
    described: dict[str, dict[str, None]] = {}
    for name in found.names:
        key = _find_key(facts, name)
        own = facts.get(key, {})
        described.setdefault(key, {})[name] = None
        for column, cells in found.columns.items():
            cells.append(own.get(column, ""))
    if shared := [own for key, own in described.items() if key in facts and len(own) > 1]:
        names = " and ".join(map(repr, [*shared[0]][:SHOWN]))
        found.problems.append(f"keys with several pictures: {len(shared):,}, such as {names}{_ONE}")


def _is_litter(name: str) -> bool:
    parts = name.lower().split("/")
    return any(part in LITTER or (part[:1] == "." and part != "..") for part in parts)


def _find_key(facts: dict[str, dict[str, str]], name: str) -> str:
    """The name but for the ending where that has facts; else what ends at the first dot, as
    WebDataset has it."""
    stem = name.rpartition(".")[0]
    if stem in facts:
        return stem
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def _read_facts(
    file: BinaryIO,
    packed: PackedFile,
    ending: str,
    wanted: Wanted,
    own: dict[str, str],
    found: _Found,
) -> None:
    """Adds to `own` what a `.cls` or `.json` file says; the former has the last word."""
    if ending == "cls" and not wanted.target:
        return
    if packed.size > LONGEST:
        found.problems.append(f"{packed.name!r} has more than {LONGEST:,} bytes")
        return
    try:
        text = os.pread(file.fileno(), packed.size, packed.offset).decode("utf-8-sig")
        values: Any = json.loads(text) if ending == "json" else {wanted.target: text}
    except (ValueError, RecursionError) as error:
        found.problems.append(f"{packed.name!r} cannot be read: {error}")
        return
    if not isinstance(values, dict):
        return  # of another kind: a caption, a list of boxes
    if len(found.fields) < MOST_FIELDS:
        found.fields.update(dict.fromkeys(filter(is_utf8, values)))
    for column in wanted.columns:
        if column not in values or (ending == "json" and column in own):
            continue
        value = values[column]
        text = "" if value is None else str(value).strip()
        if isinstance(value, dict | list) or not is_utf8(text):
            found.problems.append(f"{packed.name!r}: {column} is no single value")
        else:
            own[column] = text


def _list_table(place: str, shard: str, wanted: Wanted, found: _Found) -> None:
    with open_image_table(place, wanted.name) as table:
        found.fields.update(dict.fromkeys(table.list_columns()))
        columns = [column for column in wanted.columns if column in found.fields]
        asked = [*([table.name] if table.name else []), *columns]
        places: list[tuple[int, int]] = []
        for group, count in enumerate(table.measure_groups()):
            places += [(group, row) for row in range(count)]
            read = table.read_columns(group, asked) if asked else []
            texts = [_read_texts(table, *pair) for pair in zip(asked, read, strict=True)]
            found.names += texts.pop(0) if table.name else [""] * count
            for column in wanted.columns:
                found.columns[column] += texts.pop(0) if column in columns else [""] * count
        found.has_words = bool(table.find_class_names(wanted.target))
    texts = pa.array(found.names, TEXT)
    is_long = pc.greater(pc.binary_length(texts), MAX_NAME_BYTES)
    is_odd = pc.or_(pc.match_substring_regex(texts, ODD_NAME), is_long)
    if len({*found.names}) < len(found.names) or pc.any(is_odd).as_py():
        found.names = [str(row) for row in range(len(places))]
        found.notes.append(_NUMBERED)
    found.addresses = [
        str(ShardMember(shard, ROW, *where, name))
        for where, name in zip(places, found.names, strict=True)
    ]


def _read_texts(table: ImageTable, column: str, cells: pa.Array) -> list[str]:
    """Cells as text; numbers of classes that the table names become these names."""
    if names := table.find_class_names(column):
        known = dict(enumerate(names))
        return [known.get(value, "") for value in cells.to_pylist()]
    try:
        texts = pc.fill_null(pc.cast(cells, TEXT), "").to_pylist()
    except (pa.ArrowException, ValueError) as error:  # ValueError: text that is no UTF-8
        problem = f"column {column!r} cannot be read as text: {error}"
        raise PictureError(str(table.path), [problem]) from error
    return [*map(str.strip, texts)]
