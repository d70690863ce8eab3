"""Parquet tables with pictures in a column, as those of Hugging Face are."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.errors import PictureError
from serving.reading.pictures import GivenPicture, check_content

if TYPE_CHECKING:
    import pyarrow.parquet as pq

PARQUET_ENDINGS = (".parquet",)
NAMES = ("img_name", "file_name", "name", "path", "id", "__key__")
"""Columns that may name a picture, where the column of pictures itself does not."""
TOGETHER = 64
"""Rows that are in memory at a time."""


@dataclass(frozen=True)
class _Columns:
    """Where a table has its pictures and their names."""

    content: str
    nested: bool
    """The column holds `bytes` and `path`."""
    name: str | None


@dataclass(frozen=True)
class ParquetSource:
    """A table with a column of files' contents: binary, or a struct of `bytes` and `path`."""

    path: Path
    prefix: str
    """Of the names of its pictures."""

    def list_names(self) -> list[str]:
        """Row by row; numbers of rows where no column names them."""
        return [name for name, _ in self._read(with_content=False)]

    def open(self) -> Iterator[GivenPicture]:
        """A few rows are in memory at a time."""
        for name, content in self._read(with_content=True):
            yield GivenPicture(name, partial(check_content, content))

    def _read(self, with_content: bool) -> Iterator[tuple[str, bytes | None]]:
        table = self._open()
        columns = self._find_columns(table)
        wanted = [f"{columns.content}.path"] if columns.nested else []
        if with_content or not (columns.name or columns.nested):
            wanted = [columns.content]
        if columns.name:
            wanted.append(columns.name)
        row = 0
        for batch in table.iter_batches(TOGETHER, columns=wanted):
            for values in batch.to_pylist():
                yield self._take(values, columns, row)
                row += 1

    def _take(self, values: dict[str, Any], columns: _Columns, row: int) -> tuple[str, Any]:
        cell = values.get(columns.content)
        nested = (cell or {}) if columns.nested else {}
        own = values.get(columns.name) if columns.name else nested.get("path")
        content = nested.get("bytes") if columns.nested else cell
        return self.prefix + str(row if own is None else own), content

    def _open(self) -> "pq.ParquetFile":
        try:
            import pyarrow.parquet as pq  # late: only those who label tables need it
        except ImportError:
            problem = f"reading {self.path.name} needs pyarrow"
            raise PictureError(
                "pictures", [problem], "pip install 'forgerystack[parquet]'"
            ) from None
        try:
            return pq.ParquetFile(self.path)
        except (OSError, ValueError) as error:
            raise PictureError(str(self.path), [f"no Parquet table: {error}"]) from error

    def _find_columns(self, table: "pq.ParquetFile") -> _Columns:
        import pyarrow as pa

        found = []
        for field in table.schema_arrow:
            kind = field.type
            if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
                found.append((field.name, True))
            elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
                found.append((field.name, False))
        if len(found) != 1:
            which = ", ".join(name for name, _ in found) or "none"
            problem = (
                f"one column must hold files' contents (binary, or a struct with bytes): {which}"
            )
            raise PictureError(str(self.path), [problem])
        (content, nested) = found[0]
        names = [name for name in NAMES if name in table.schema_arrow.names]
        return _Columns(content, nested, names[0] if names else None)
