"""The summary's tables as rows of plain text, for a page."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from stage2_ensemble.display.tables import (
    build_blocks,
    build_parts,
    build_promises,
    build_robustness,
    build_shipped,
    build_table,
    build_units,
    build_without,
)
from stage2_ensemble.findings.corrected_labels import build_corrected
from stage2_ensemble.findings.final_run import build_last
from stage2_ensemble.results.form import Metrics, has_val

COSTS = ("min", "s")
"""Columns that a page does without: seconds differ from run to run, its bytes must not."""


@dataclass(frozen=True)
class PageTable:
    """A title, names of columns, cells, and what stands below."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def list_tables(metrics: Metrics) -> list[PageTable]:
    """Every table that these metrics have."""
    return [read_table(table) for table in _build_tables(metrics) if table is not None]


def _build_tables(metrics: Metrics) -> Iterator[Table | None]:
    if not has_val(metrics):
        yield build_last(metrics)
        return
    yield build_table(metrics)
    yield build_corrected(metrics)
    for build in (build_shipped, build_promises, build_parts, build_units, build_robustness):
        yield build(metrics)
    yield build_blocks(metrics)
    yield build_without(metrics, {})


def read_table(table: Table) -> PageTable:
    """What a table for the terminal says."""
    named = [(_strip(column.header), column) for column in table.columns]
    kept = [(name, [_strip(cell) for cell in column.cells]) for name, column in named
            if name not in COSTS]  # fmt: skip
    note = "" if len(kept) < len(named) else _strip(table.caption or "")
    rows = tuple(zip(*(cells for _, cells in kept), strict=True))
    return PageTable(_strip(table.title or ""), tuple(name for name, _ in kept), rows, note)


def _strip(cell: Any) -> str:
    """A cell's text without markup."""
    return cell.plain if isinstance(cell, Text) else Text.from_markup(str(cell)).plain
