"""The shards of a role as a list: one row for each picture in them."""

from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from joblib import delayed

from features.caching.filling import run_tasks
from features.core.manifest import Ids
from features.core.trusted import find_trusted
from features.errors import ImageProblem, ManifestError
from features.lists.csv_blocks import BLOCK, KEPT, Problems, RecordBlock, Table
from features.lists.file_names import TEXT
from features.lists.label_file import ListedRows, read_listed_rows
from features.lists.pictures import PackedPictures
from features.lists.shard_files import find_shards
from features.lists.shard_listing import ListedShard, Wanted, list_shard
from features.lists.tables import WORDS
from features.pixels.reading import locate_file
from features.runtime.progress import show_progress
from features.settings.data import Data, RoleFiles
from features.shards.names import parse_member
from features.splits.names import link_repeated

MANY = 16
"""Shards from which on processes list them: reading headers holds the interpreter lock."""
ADDRESS = "#address"
"""The column of addresses."""
_ADVICE = "Beside KEY.jpg in a tar lies KEY.cls, or KEY.json with fields; a table has columns."


def list_packed(
    data: Data, files: RoleFiles, labelled: bool, hold_out: Sequence[str]
) -> PackedPictures | None:
    """The pictures in a role's shards; `None` where it has none.

    Raises `ManifestError` with the problems of all shards.
    """
    if files.images is None:
        return None
    root, trusted = Path(data.root), find_trusted(data.trusted)
    shards = [*find_shards(root, files.images, trusted)]
    if not shards:
        return None
    wanted = _choose_columns(data, labelled, hold_out)
    if files.labels is not None:
        wanted = Wanted(wanted.name, "", ())
    places, problems = [], []
    for shard in shards:
        try:
            places.append(locate_file(root, shard, trusted)[0])
        except ImageProblem as problem:
            problems.append(f"{shard}: {problem}")
    listed: list[ListedShard] = []
    if not problems:
        listed = _list_all(places, shards, wanted)
        both = zip(shards, listed, strict=True)
        problems = [f"{shard}: {problem}" for shard, own in both for problem in own.problems]
    if problems:
        raise ManifestError(str(root / files.images), problems)
    return _join(shards, listed, wanted, root / files.images)


def read_packed(
    packed: PackedPictures, data: Data, files: RoleFiles, labelled: bool, hold_out: Sequence[str]
) -> ListedRows:
    """One row for each picture in shards, sorted by name; `line` is 0. Raises `ManifestError`."""
    source = Path(data.root, files.images or "")
    if not len(packed.names):
        raise ManifestError(str(source), ["there is no picture in the shards"])
    table = _build_table(packed, data.columns.name)
    listed = read_listed_rows(table, source, data, files, labelled, hold_out)
    rows = listed.rows.sort_values("img_name", ignore_index=True)
    return listed._replace(rows=rows.assign(line=0))


def _choose_columns(data: Data, labelled: bool, hold_out: Sequence[str]) -> Wanted:
    columns = data.columns
    if not labelled:
        return Wanted(columns.name, "", tuple(filter(None, [columns.unit])))
    facts = (columns.weight, columns.draw_weight, columns.generator, columns.source, columns.unit)
    others = dict.fromkeys(filter(None, [*facts, *data.group_columns, *hold_out]))
    return Wanted(columns.name, columns.target, tuple(others))


def _list_all(places: list[str], shards: list[str], wanted: Wanted) -> list[ListedShard]:
    listed: list[ListedShard] = []
    with show_progress("list shards", len(shards), "shards") as meter:

        def record(done: ListedShard) -> None:
            listed.append(done)
            meter.advance()

        pairs = zip(places, shards, strict=True)
        tasks = (delayed(list_shard)(place, shard, wanted) for place, shard in pairs)
        run_tasks(tasks, len(shards) >= MANY, record, lambda: None)
    return listed


def _join(
    shards: list[str], listed: list[ListedShard], wanted: Wanted, source: Path
) -> PackedPictures:
    """All shards as one. Raises `ManifestError` for names that stand twice in one of them."""
    notes = [f"read from shards: {len(shards):,}"]
    notes += dict.fromkeys(note for own in listed for note in own.notes)
    names = pa.concat_arrays([own.names for own in listed])
    if len(_find_repeated(names)):
        titles = [pa.scalar(PurePosixPath(shard).name, TEXT) for shard in shards]
        both = zip(titles, listed, strict=True)
        names = pa.concat_arrays(
            [
                pc.binary_join_element_wise(title, own.names, pa.scalar("/", TEXT))
                for title, own in both
            ]
        )
        if len(again := _find_repeated(names)):
            problems = [f"{names[i].as_py()!r} stands twice" for i in again[:KEPT].tolist()]
            raise ManifestError(str(source), problems, count=len(again))
        notes.append(f"names begin with that of their shard, such as {names[0].as_py()!r}")
    fields = dict.fromkeys(name for own in listed for name in own.fields)
    columns = {
        column: pa.concat_arrays([own.columns[column] for own in listed])
        for column in wanted.columns
        if column in fields
    }
    return PackedPictures(
        names,
        pa.concat_arrays([own.addresses for own in listed]),
        columns,
        [name for name in fields if name not in columns and name != wanted.name],
        WORDS if any(own.has_words for own in listed) else {},
        notes,
        str(PurePosixPath(shards[0]).parent),
    )


def _find_repeated(names: pa.Array) -> Ids:
    return link_repeated(pd.Series(names, dtype="str"))[:, 1]


def _build_table(packed: PackedPictures, name: str) -> Table:
    """Pictures in shards as rows of a list."""
    columns = [packed.names, *packed.columns.values()]

    def iterate(problems: Problems, read: Collection[str]) -> Iterator[RecordBlock]:
        problems.name_line = partial(_name_row, packed)
        for start in range(0, len(packed.names), BLOCK):
            cells = [column.slice(start, BLOCK).to_pylist() for column in columns]
            addresses = packed.addresses.slice(start, BLOCK).to_pylist()
            blank = [[""] * len(addresses)] * len(packed.others)
            lines = list(range(start, start + len(addresses)))
            yield RecordBlock([*cells, *blank, addresses], lines)

    return Table(
        [name, *packed.columns, *packed.others, ADDRESS],
        iterate,
        packed.notes,
        where="shards",
        words=packed.words,
        advice=_ADVICE,
        has_addresses=True,
    )


def _name_row(packed: PackedPictures, row: int) -> str:
    member = parse_member(packed.addresses[row].as_py())
    return f"{member.shard}: {member.name!r}" if member else str(row)
