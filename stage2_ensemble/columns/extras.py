"""What is known of pictures besides what members say: forensic features and, if asked, file facts.

Facts of files tell how a data set was collected. So they are for the null model, and for models
that decide only where `stack.use_file_facts` says so.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.artifacts.forensics import read_forensics
from features.core.manifest import Ids, Manifest
from features.core.manifest_columns import ColumnReader, list_columns, take_columns
from features.null_model.file_facts import (
    CATEGORIES,
    FAMILIES,
    FILE,
    SOURCES,
    build_file_facts,
    encode_facts,
    learn_codes,
)
from stage2_ensemble.columns.memory_map import copy_rows

FileCodes = Mapping[str, list[str]]
BLOCK = 1 << 18
"""Rows whose facts lie in memory as texts at once."""


@dataclass(frozen=True)
class Extras:
    """Columns of some rows: of all rows of a role they are by `row_id`."""

    names: tuple[str, ...]
    """`forensic:<name>` and `file:<name>`."""
    values: npt.NDArray[np.float32]
    """`(n, f)`; NaN where a value is not known."""

    def take(self, row_ids: Ids) -> npt.NDArray[np.float32]:
        """Those of rows in increasing order, a copy; of all rows no copy: folds share them."""
        return self.values if len(row_ids) == len(self.values) else copy_rows(self.values, row_ids)


def learn_file_codes(train: Manifest) -> FileCodes:
    """The values of each category among train rows, the most frequent first: no label is read."""
    codes = learn_codes(_build_blocks(train))
    return {name: [str(value) for value in codes[name]] for name in _list_categories()}


def read_extras(folder: Path, manifest: Manifest, file_codes: FileCodes | None = None) -> Extras:
    """The forensic features of a role, from `folder`, and with `file_codes` its file facts.

    Raises as `read_forensics`.
    """
    forensics = read_forensics(folder, manifest)
    return build_extras(forensics.names, forensics.values, manifest, file_codes)


def build_extras(
    names: Sequence[str],
    values: npt.NDArray[np.float32],
    table: pd.DataFrame | ColumnReader,
    file_codes: FileCodes | None = None,
) -> Extras:
    """Forensic features `(n, c)` of rows, with their file facts from a manifest's `table`."""
    titles = tuple(f"forensic:{name}" for name in names)
    if file_codes is None:
        return Extras(titles, values)
    codes = {name: pd.Index(known) for name, known in file_codes.items()}
    whole = np.empty((len(values), len(titles) + len(FAMILIES[FILE])), np.float32)
    whole[:, : len(titles)] = values
    start = 0
    for block in _build_blocks(list_columns(table)):
        facts = encode_facts(block[list(FAMILIES[FILE])], codes)
        whole[start : start + len(block), len(titles) :] = np.stack(list(facts.values()), axis=1)
        start += len(block)
    return Extras((*titles, *(f"file:{name}" for name in FAMILIES[FILE])), whole)


def _build_blocks(table: ColumnReader) -> Iterator[pd.DataFrame]:
    """The facts of all rows, some at a time."""
    for start in range(0, len(table), BLOCK):
        yield build_file_facts(take_columns(table, SOURCES, slice(start, start + BLOCK)))


def _list_categories() -> list[str]:
    return [name for name in FAMILIES[FILE] if name in CATEGORIES]
