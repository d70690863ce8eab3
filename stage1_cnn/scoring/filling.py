"""Scores that are kept as they come: what is missing is scored, saved, and stopped when asked."""

import logging
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from features.artifacts.row_blocks import Arrays
from features.errors import Stopped
from features.runtime.interruption import Interruption
from features.runtime.progress import track
from stage1_cnn.scoring.processes import Processes

Score = Callable[[int, int], Iterator[Arrays]]
"""The arrays of rows `start` … `stop - 1`, batch by batch, in order; the same on every process."""
_log = logging.getLogger("forgerystack")


class Blocks(Protocol):
    """What is filled: `RowBlocks`, or several at once."""

    def list_missing(self) -> list[tuple[int, int]]:
        """See `RowBlocks`."""
        ...

    def add(self, start: int, arrays: Arrays) -> None:
        """See `RowBlocks`."""
        ...

    def save(self) -> None:
        """See `RowBlocks`."""
        ...

    def save_if_due(self) -> None:
        """See `RowBlocks`."""
        ...


class ScoreTask(NamedTuple):
    """So many rows to score, and what they are called."""

    total: int
    title: str
    """Of the progress bar."""
    unit: str
    """Of the progress bar, such as `images`."""
    noun: str
    """Such as `rows of val`."""


def fill_blocks(
    blocks: Blocks | None,
    task: ScoreTask,
    score: Score,
    processes: Processes,
    interruption: Interruption,
) -> int:
    """Scores the rows that `blocks` lack, and counts them; only the first process has blocks.

    Raises `Stopped`, with all that was scored saved.
    """
    missing = processes.broadcast(blocks.list_missing() if blocks else [])
    wanted = sum(stop - start for start, stop in missing)
    done = task.total - wanted
    if missing and done:
        _log.info("goes on after %s of %s %s", f"{done:,}", f"{task.total:,}", task.noun)
    for start, stop in missing:
        last = time.monotonic()
        scored = track(
            score(start, stop), task.title, task.total, done, processes.is_first, task.unit,
            size=lambda arrays: len(arrays[0]),
        )  # fmt: skip
        for arrays in scored:
            if blocks:
                blocks.add(start, arrays)
                blocks.save_if_due()
            start += len(arrays[0])
            done += len(arrays[0])
            now = time.monotonic()
            reason, last = interruption.find_reason(2 * (now - last)), now
            (stopping,) = processes.any(reason is not None)
            if stopping and done < task.total:
                if blocks:
                    blocks.save()
                cause = reason or "another process was"
                raise Stopped(f"after {done:,} of {task.total:,} {task.noun} ({cause})")
    if blocks:
        blocks.save()
    return wanted
