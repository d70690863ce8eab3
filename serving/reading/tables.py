"""Parquet tables with pictures in a column, as those of Hugging Face are."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from features.shards.tables import open_image_table
from serving.reading.pictures import GivenPicture, check_content, tell_file


@dataclass(frozen=True)
class ParquetSource:
    """A table with a column of files' contents: binary, or a struct of `bytes` and `path`."""

    path: Path
    prefix: str
    """Of the names of its pictures."""

    def list_names(self) -> list[str]:
        """Row by row; numbers of rows where no column names them."""
        with open_image_table(self.path) as table:
            return [self.prefix + name for name, _ in table.iterate_rows(with_content=False)]

    def open(self) -> Iterator[GivenPicture]:
        """A few rows are in memory at a time."""
        state = tell_file(self.path)
        with open_image_table(self.path) as table:
            for name, content in table.iterate_rows(with_content=True):
                load, held = partial(check_content, content), len(content or b"")
                yield GivenPicture(self.prefix + name, load, held=held, state=state)
