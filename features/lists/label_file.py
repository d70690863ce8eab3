"""Label files into rows: checked line by line, all problems of a file reported together."""

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from features.core.manifest import NO_LABEL
from features.errors import SHOWN, ManifestError
from features.lists.advice import TARGETS, choose_column, suggest_classes, suggest_columns
from features.lists.csv_blocks import Problems, RecordBlock, Table, join_blocks
from features.lists.file_names import TEXT, drop_listed_twice, read_names
from features.lists.pictures import FoundPictures, PackedPictures, find_pictures
from features.lists.tables import ORIGINAL, blank_empty, open_table, read_weights, tell_empty
from features.lists.targets import TargetLabels
from features.settings.data import Data, RoleFiles
from features.settings.sections import suggest_name
from features.splits.names import link_repeated

_log = logging.getLogger("forgerystack")


class ListedRows(NamedTuple):
    """What a list or class folders hold."""

    rows: pd.DataFrame
    repeated: int
    """Lines that stood twice, and were dropped once."""
    notes: list[str]
    """How it was read, where that is not as it stands; what was skipped."""


@dataclass(frozen=True)
class _Layout:
    """What the cells of a line are: places of columns, -1 for those that are not read."""

    name: int
    target: int
    numbers: Mapping[str, int]
    texts: Mapping[str, int]
    """Columns of the result to the places that they are copied from, as are `numbers`."""
    targets: TargetLabels
    folder: PurePosixPath
    address: int
    """The place of addresses, where names are no paths."""
    unknown: dict[str, int] = field(default_factory=dict)
    """Targets that are of no class, with their number."""
    empty: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """By place, words that were read as empty cells."""

    @property
    def places(self) -> list[int]:
        """Of all columns, -1 for those that are not read."""
        numbers, texts = self.numbers.values(), self.texts.values()
        return [self.name, self.target, self.address, *numbers, *texts]


def read_labels(
    data: Data,
    files: RoleFiles,
    labelled: bool,
    hold_out: Sequence[str] = (),
    packed: PackedPictures | None = None,
) -> ListedRows:
    """Rows of one label file; its pictures are `packed` in shards, or files below `files.images`.

    As `read_listed_rows` in all else.
    """
    if files.labels is None:
        raise ValueError("there is no label file to read")
    path = Path(data.root) / files.labels
    wanted = [data.columns.name, data.columns.target] if labelled else [data.columns.name]
    with open_table(path, wanted) as table:
        return read_listed_rows(table, path, data, files, labelled, hold_out, packed)


def read_listed_rows(
    table: Table,
    path: Path,
    data: Data,
    files: RoleFiles,
    labelled: bool,
    hold_out: Sequence[str] = (),
    packed: PackedPictures | None = None,
) -> ListedRows:
    """Rows of the table that was read from `path`.

    Columns: `line` (its number in the file), `img_name` (as the list has it), `path` (relative to
    the data root), `label` (-1 where not `labelled`), `weight`, `draw_weight`, `generator`,
    `source`, `unit`, `list_group_keys` and, of a file that is `labelled`, `hold:<column>` for each
    column of `hold_out`. A file that is not may lack the column of units.
    Raises `ManifestError` with the first bad lines and the count of all.
    """
    problems, advice = Problems(), ""
    folder = "" if packed else files.images or ""
    layout = _find_columns(table, data, PurePosixPath(folder), labelled, hold_out, path)
    read = {table.header[place] for place in layout.places if place >= 0}
    blocks = [_read_block(b, layout, problems) for b in table.iterate_blocks(problems, read)]
    rows = join_blocks(blocks)
    names, paths = rows["img_name"], rows["path"]
    if labelled and layout.address < 0:  # `./a.png` is `a.png`, but test answers both lines
        names = paths.where(paths != "", names)
    rows, repeated = drop_listed_twice(rows, link_repeated(names), problems)
    if layout.unknown:
        advice = _advise_classes(layout, data)
    if layout.address >= 0:
        found = FoundPictures(rows["path"], [])
    elif files.images is None:  # names that lead elsewhere are never followed
        found = FoundPictures(rows["path"].where(rows["path"] != "", rows["img_name"]), [])
    else:
        found = find_pictures(rows, data, files.images, labelled, problems, packed)
    if problems.count:
        advice = "\n".join(filter(None, [advice, found.advice]))
        raise ManifestError(str(path), problems.list_texts(), advice, count=problems.count)
    if labelled and not len(rows):
        raise ManifestError(str(path), ["there is no row below the header"])
    notes = [*table.notes, *layout.targets.list_notes()]
    notes += [n for at, words in layout.empty.items() for n in tell_empty(table.header[at], words)]
    notes += found.notes
    return ListedRows(rows.assign(path=found.paths), repeated, notes)


def list_group_keys(data: Data) -> list[str]:
    """Columns of the rows whose values keep rows together: of `data.group_columns`, `unit`, and
    what metadata call the original.

    The first are renamed, as a file may well call its own column `path`.
    """
    keys = [f"group:{column}" for column in data.group_columns]
    lists = [files.labels for files in (data.train, data.val, data.test) if files is not None]
    if any(labels is not None and labels.endswith(".json") for labels in lists):
        keys.append(ORIGINAL)
    return [*keys, "unit"] if data.columns.unit else keys


def _find_columns(
    table: Table,
    data: Data,
    folder: PurePosixPath,
    labelled: bool,
    hold_out: Sequence[str],
    path: Path,
) -> _Layout:
    columns, header = data.columns, table.header
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
        described = {"generator": columns.generator, "source": columns.source}
        texts |= {column: name for column, name in described.items() if name}
        texts |= {f"group:{column}": column for column in data.group_columns}
        texts |= {f"hold:{column}": column for column in hold_out}
        texts |= {ORIGINAL: ORIGINAL} if ORIGINAL in header and table.words else {}
        named = {"weight": columns.weight, "draw_weight": columns.draw_weight}
        numbers = {column: name for column, name in named.items() if name}
        wanted += [columns.target, *numbers.values()]
    wanted += texts.values()
    _check_columns(table, list(dict.fromkeys(wanted)), data, labelled, path)
    absent = dict.fromkeys(["generator", "source", "unit", *list_group_keys(data)], -1)
    return _Layout(
        name=header.index(columns.name),
        target=header.index(columns.target) if labelled else -1,
        numbers={
            "weight": -1,
            "draw_weight": -1,
            **{column: header.index(name) for column, name in numbers.items()},
        },
        texts={**absent, **{column: header.index(name) for column, name in texts.items()}},
        targets=TargetLabels(data.classes, table.words),
        folder=folder,
        address=len(header) - 1 if table.has_addresses else -1,
    )


def _check_columns(
    table: Table, wanted: Sequence[str], data: Data, labelled: bool, path: Path
) -> None:
    """Raises `ManifestError` if one is missing, with the lines of `params.yaml` that read what is
    there."""
    header, where = table.header, table.where
    missing = [name for name in wanted if name not in header]
    problems = [f"{where}: no column {name!r}{suggest_name(name, header)}" for name in missing]
    problems += [
        f"{where}: column {name!r} stands twice" for name in wanted if header.count(name) > 1
    ]
    if not problems:
        return
    lines = suggest_columns(header, data, labelled) if missing else []
    if lines and labelled:
        lines += _suggest_classes(table, data)
    advice = table.advice
    if lines:
        advice = "\n".join(["To read it as it is, say in params.yaml:", "data:", *lines])
    raise ManifestError(str(path), problems, advice)


def _read_block(block: RecordBlock, layout: _Layout, problems: Problems) -> dict[str, Any]:
    """Columns of the rows of one block, as arrays of NumPy and of Arrow."""
    if layout.address >= 0:
        names, paths = (pa.array(block.columns[i], TEXT) for i in (layout.name, layout.address))
    else:
        names, paths = read_names(block, layout.name, layout.folder, problems)
    labels = np.full(len(names), NO_LABEL, np.int8)
    if layout.target >= 0:
        labels = _read_targets(block, layout, problems)
    columns = {"img_name": names, "path": paths, "label": labels}
    for column, place in layout.numbers.items():
        columns[column] = read_weights(block, place, problems, len(names))
    told: dict[int, Sequence[str]] = {-1: [""] * len(names)}
    for column, place in layout.texts.items():
        if place not in told:
            told[place] = blank_empty(block.columns[place], layout.empty[place])
        is_held = column.startswith("hold:")  # split.hold_out names values as they stand
        columns[column] = pa.array(block.columns[place] if is_held else told[place], TEXT)
    return {"line": np.asarray(block.lines, np.int64), **columns}


def _read_targets(block: RecordBlock, layout: _Layout, problems: Problems) -> npt.NDArray[np.int8]:
    texts, targets = block.columns[layout.target], layout.targets
    labels = np.fromiter((targets.exact.get(text, NO_LABEL) for text in texts), np.int8, len(texts))
    for i in np.flatnonzero(labels == NO_LABEL):
        labels[i] = targets.find_label(texts[i])
        if labels[i] == NO_LABEL:
            known = ", ".join(targets.exact)
            problems.add(block.lines[i], f"target {texts[i]!r} is none of {known} (data.classes)")
            layout.unknown[texts[i]] = layout.unknown.get(texts[i], 0) + 1
    return labels


def _advise_classes(layout: _Layout, data: Data) -> str:
    """The line of `params.yaml` that reads the targets, where they are others throughout."""
    lines = suggest_classes(layout.unknown, data.columns.target)
    return "\n".join(["To read them, say in params.yaml:", "data:", *lines]) if lines else ""


def _suggest_classes(table: Table, data: Data) -> list[str]:
    """The line for the targets of the table, where `data.classes` has others."""
    target = data.columns.target
    target = target if target in table.header else choose_column(table.header, TARGETS)
    place = table.header.index(target)
    seen: set[str] = set()
    for block in table.iterate_blocks(Problems(), [target]):
        seen.update(block.columns[place])
        if len(seen) > SHOWN:
            return []
    targets = TargetLabels(data.classes, table.words)
    known = all(text in targets.exact or targets.find_label(text) >= 0 for text in seen)
    return [] if known and "real" not in target.casefold() else suggest_classes(seen, target)
