"""Parquet tables with pictures in a column, as those of Hugging Face are."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from features.errors import PictureError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

NAME_COLUMNS = ("img_name", "file_name", "name", "path", "id", "__key__")
"""Columns that may name a picture, where the column of pictures itself does not."""
LARGEST_GROUP, FEW = 1 << 30, 100
"""Bytes of pictures in a row group, all of which is read for one of them; and as many rows as
Hugging Face puts into one."""
TOGETHER = 64
"""Rows that are in memory at a time where a table is read from its start to its end."""


@dataclass(frozen=True)
class ImageTable:
    """A table with a column of files' contents: binary, or a struct of `bytes` and `path`."""

    file: "pq.ParquetFile"
    path: Path
    content: str
    """The column."""
    nested: bool
    name: str | None
    """The column of names, which may be a field of that of contents."""

    @property
    def leaf(self) -> str:
        """The column of contents as Parquet names it."""
        return f"{self.content}.bytes" if self.nested else self.content

    def list_columns(self) -> list[str]:
        """All but that of pictures."""
        return [name for name in self.file.schema_arrow.names if name != self.content]

    def iterate_rows(self, with_content: bool) -> Iterator[tuple[str, bytes | None]]:
        """Names and contents row by row; names are numbers of rows where no column has them."""
        wanted = [self.leaf] if with_content or self.name is None else []
        wanted += [self.name] if self.name else []
        start = 0
        with _report(self.path):
            for batch in self.file.iter_batches(TOGETHER, columns=wanted):
                contents = _take_leaf(batch, self.leaf) if with_content else None
                names = _take_leaf(batch, self.name) if self.name else None
                for i in range(len(batch)):
                    name = names[i].as_py() if names is not None else None
                    content = contents[i].as_py() if contents is not None else None
                    yield str(start + i if name is None else name), content
                start += len(batch)

    def read_columns(self, group: int, columns: Sequence[str]) -> list["pa.Array"]:
        """`columns` of a row group, each `(n,)`. Raises `PictureError`."""
        with _report(self.path):
            rows = self.file.read_row_group(group, columns=list(columns), use_threads=False)
            return [_take_leaf(rows, column) for column in columns]

    def read_contents(self, group: int) -> "pa.Array":
        """Files' contents of a row group, `(n,)` binaries. Raises `PictureError`."""
        if group >= self.file.num_row_groups:
            raise PictureError(str(self.path), [f"there is no row group {group}"])
        return self.read_columns(group, [self.leaf])[0]

    def measure_groups(self) -> list[int]:
        """Rows of each row group. Raises `PictureError` where one is too large to be read whole."""
        facts = self.file.metadata
        places = [i for i in range(facts.num_columns) if facts.schema.column(i).path == self.leaf]
        rows = []
        for number in range(facts.num_row_groups):
            group = facts.row_group(number)
            size = sum(group.column(place).total_uncompressed_size for place in places)
            if size > LARGEST_GROUP:
                what = f"row group {number} has {size / 1e9:.1f} GB of pictures"
                problem = f"{what}, all of which are read for one: write it with {FEW} rows a group"
                raise PictureError(str(self.path), [problem])
            rows.append(group.num_rows)
        return rows

    def find_class_names(self, column: str) -> list[str]:
        """Names of the numbers in a column that Hugging Face's `ClassLabel` describes, or none."""
        written = (self.file.schema_arrow.metadata or {}).get(b"huggingface", b"")
        try:
            names = json.loads(written)["info"]["features"][column]["names"]
            return [str(name) for name in names]
        except (ValueError, LookupError, TypeError, RecursionError):
            return []


@contextmanager
def open_image_table(path: str | Path, name: str = "") -> Iterator[ImageTable]:
    """A table in which one column holds files' contents; `name` is the column of names, if it has
    that.

    Raises `PictureError`.
    """
    path = Path(path)
    try:
        import pyarrow.parquet as pq  # late: only those who have tables need it
    except ImportError:
        problem = f"reading {path.name} needs pyarrow"
        raise PictureError("pictures", [problem], "pip install 'forgerystack[parquet]'") from None
    with _report(path):
        file = pq.ParquetFile(path)
    with file:
        content, nested, has_path = _find_contents(file.schema_arrow, path)
        names = [known for known in (name, *NAME_COLUMNS) if known in file.schema_arrow.names]
        own = [f"{content}.path"] if has_path else []
        yield ImageTable(file, path, content, nested, next(iter([*names, *own]), None))


@contextmanager
def _report(path: Path) -> Iterator[None]:
    """What Arrow raises of a damaged file becomes a `PictureError`."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PictureError(str(path), [f"no whole Parquet table: {told}"]) from error


def _find_contents(schema: "pa.Schema", path: Path) -> tuple[str, bool, bool]:
    """The column, whether it is a struct, and whether that has a `path`."""
    import pyarrow as pa

    found = []
    for field in schema:
        kind = field.type
        if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            found.append((field.name, True, kind.get_field_index("path") >= 0))
        elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            found.append((field.name, False, False))
    if len(found) != 1:
        which = ", ".join(name for name, *_ in found) or "none"
        problem = f"one column must hold files' contents (binary, or a struct with bytes): {which}"
        raise PictureError(str(path), [problem])
    return found[0]


def _take_leaf(rows: "pa.Table | pa.RecordBatch", column: str) -> "pa.Array":
    """A column, or a field of one, named `column.field`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if column in rows.schema.names:
        found = rows.column(column)
    else:
        outer, _, field = column.rpartition(".")
        found = pc.struct_field(rows.column(outer), field)
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
