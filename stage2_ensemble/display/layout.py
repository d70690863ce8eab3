"""What a table is: built once as plain text, shown by the terminal, the page and the model card.

columns = (Column("model"), Column("AUC", "right"))
table = TextTable("val: 480 real, 720 fake", columns, (Row(("mean", "0.950")),))
build_console().print(render_table(table))
"""

from dataclasses import dataclass
from typing import Literal

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Column:
    """A header, and how the cells below it stand."""

    name: str
    align: Literal["left", "right"] = "left"
    folds: bool = False
    """Where there is little room, its cells take several lines; others keep theirs."""


@dataclass(frozen=True)
class Row:
    """One text for each column; a line break in one is kept."""

    cells: tuple[str, ...]
    is_emphasised: bool = False
    ends_section: bool = False


@dataclass(frozen=True)
class TextTable:
    """A title, columns, rows, and what stands below. Nothing in it is markup of any kind."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note: str = ""


def render_table(table: TextTable) -> Table:
    """The table for a terminal."""
    title, note = Text(table.title, "table.title"), Text(table.note, "table.caption")
    shown = Table(title=title, caption=note if table.note else None, box=SIMPLE, padding=0)
    for column in table.columns:
        overflow: Literal["fold", "ellipsis"] = "fold" if column.folds else "ellipsis"
        shown.add_column(
            Text(column.name), justify=column.align, no_wrap=not column.folds, overflow=overflow
        )
    for row in table.rows:
        style = "bold" if row.is_emphasised else None
        shown.add_row(*map(Text, row.cells), style=style, end_section=row.ends_section)
    return shown
