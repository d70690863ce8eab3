"""Columns of a manifest, which memory need not hold as a whole."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.errors import IntegrityError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


class ColumnReader(Protocol):
    """A table of which any part of a column can be had."""

    def __len__(self) -> int: ...

    def read(self, name: str, block: slice = slice(None)) -> pd.Series:
        """The cells of a column, or of a block of it, in steps of one."""
        ...


@dataclass(frozen=True)
class FrameColumns:
    """Those of a table in memory."""

    table: pd.DataFrame

    def __len__(self) -> int:
        return len(self.table)

    def read(self, name: str, block: slice = slice(None)) -> pd.Series:
        """See `ColumnReader`."""
        return self.table[name].iloc[block]


class StoredColumns:
    """Those of a Parquet file, read when they are asked for.

    Raises `IntegrityError` where the file has become another one since it was opened.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq  # late: labelling with a bundle does without

        self._path, self._state = path, _read_state(path)
        self._facts = pq.read_metadata(path)
        sizes = (self._facts.row_group(i).num_rows for i in range(self._facts.num_row_groups))
        self._starts: list[int] = list(accumulate(sizes, initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    @cached_property
    def schema(self) -> "pa.Schema":
        """Names, types and the file's own words."""
        return self._facts.schema.to_arrow_schema()

    def read(self, name: str, block: slice = slice(None)) -> pd.Series:
        """See `ColumnReader`. Raises `ValueError` for empty cells, which no column of ours has."""
        start, stop, _ = block.indices(len(self))
        groups = [
            i
            for i, (first, end) in enumerate(pairwise(self._starts))
            if first < stop and start < end
        ]
        arrow = self._open().read_row_groups(groups, columns=[name])
        if arrow.column(0).null_count:
            raise ValueError(f"its column {name} has empty cells")
        first = self._starts[groups[0]] if groups else 0
        cells: pd.Series = arrow.slice(start - first, stop - start).to_pandas()[name]
        return cells

    def read_all(self) -> pd.DataFrame:
        """All columns, in memory. Raises as `read`."""
        arrow = self._open().read().replace_schema_metadata()
        if any(column.null_count for column in arrow.columns):
            raise ValueError("it has empty cells")
        table: pd.DataFrame = arrow.to_pandas()
        return table

    def _open(self) -> "pq.ParquetFile":
        import pyarrow.parquet as pq

        if _read_state(self._path) != self._state:
            raise IntegrityError(self._path, "it was written anew meanwhile", "Start again.")
        return pq.ParquetFile(self._path, metadata=self._facts)


def list_columns(table: pd.DataFrame | ColumnReader) -> ColumnReader:
    """Those of a table, whatever holds it."""
    return FrameColumns(table) if isinstance(table, pd.DataFrame) else table


def take_columns(
    table: ColumnReader, names: Sequence[str], rows: slice | npt.NDArray[np.int64] = slice(None)
) -> pd.DataFrame:
    """Some columns of some rows; of a slice no other rows are read, and no column lies in memory
    beside another one."""
    if isinstance(rows, slice):
        return pd.DataFrame({name: table.read(name, rows) for name in names})
    return pd.DataFrame({name: table.read(name).iloc[rows] for name in names})


def digest_columns(columns: ColumnReader, kinds: Mapping[str, str], size: int) -> str:
    """sha256 over the cells of columns of such types, as Arrow names them, `size` at a time."""
    content = hashlib.sha256()
    for name, kind in kinds.items():
        content.update(f"{name}:{kind}:{len(columns)}\n".encode())
        for start in range(0, len(columns), size):
            cells = columns.read(name, slice(start, start + size))
            if kind == "string":
                content.update(b"\0" if start else b"")
                content.update(_join_texts(cells))
            else:
                content.update(cells.to_numpy(kind).tobytes())
    return content.hexdigest()


def _join_texts(cells: pd.Series) -> "pa.Buffer":
    """Texts with a zero byte between them, without a Python string for each."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pa.array(cells, pa.large_string())
    if found.null_count:
        raise ValueError(f"column {cells.name} has empty cells")
    # Tables that were put together hold chunks of either type of text, whatever they say.
    chunks = found.chunks if isinstance(found, pa.ChunkedArray) else [found]
    texts = pa.concat_arrays([chunk.cast(pa.large_string()) for chunk in chunks])
    together = pa.LargeListArray.from_arrays(pa.array([0, len(texts)], pa.int64()), texts)
    joined = pc.binary_join(together, pa.scalar("\0", pa.large_string()))
    return joined[0].as_buffer()


def _read_state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
