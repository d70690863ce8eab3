"""Progress bars on a terminal; silence elsewhere (the log lines say what happened)."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

Item = TypeVar("Item")


def track(
    items: Iterable[Item], title: str, total: int, done: int = 0, shown: bool = True
) -> Iterator[Item]:
    """Yields `items` while a bar with rate and time left runs on stderr.

    `total` counts those that were `done` before as well. Not `shown`: no bar at all.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not (shown and console.is_terminal)
    ) as bar:
        task = bar.add_task(title, total=total, completed=done)
        for item in items:
            yield item
            bar.advance(task)
