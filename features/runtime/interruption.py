"""When to stop: a signal, a time limit, or the end of the process that started this one.

Training finishes its step and saves, a search gives up its trial; both exit with 75.
"""

import os
import signal
import time
from types import FrameType, TracebackType
from typing import Annotated, Any, Self

import typer

from features.errors import Stopped
from features.runtime.cli import find_starter, measure_age

MaxMinutes = Annotated[
    float | None,
    typer.Option(
        envvar="FORGERYSTACK_MAX_MINUTES",
        min=0,
        help="Save and stop (exit code 75) before so many minutes are over; run it again.",
    ),
]
STARTED = "FORGERYSTACK_STARTED"
"""Variable that may hold a time (seconds since 1970) from which minutes count: a user sets it so
that all stages of one `dvc repro` share a limit, several processes of one training inherit it."""
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interruption:
    """Watches for reasons to stop. As a context it takes SIGTERM and SIGINT and notes them only."""

    def __init__(self, max_minutes: float | None = None) -> None:
        """`max_minutes` count from the start of the program, or from `FORGERYSTACK_STARTED`."""
        self.max_minutes = max_minutes
        self._end = None if max_minutes is None else find_start() + 60 * max_minutes
        self._signal: int | None = None
        self._at_once = False
        self._before: dict[int, Any] = {}
        # Whoever is killed while DVC or a launcher waits for it leaves an orphan that nobody would
        # stop. A shell that closes behind `nohup` is no reason.
        self._parent = find_starter()

    def __enter__(self) -> Self:
        for number in SIGNALS:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        first, self._signal = self._signal is None, number
        if self._at_once and first:
            raise Stopped(f"({signal.Signals(number).name})")

    def stop_at_once(self) -> None:
        """From now on a signal raises `Stopped` wherever it comes: there is nothing to save.

        So does one that was noted before.
        """
        self._at_once = True
        if self._signal is not None:
            raise Stopped(f"({signal.Signals(self._signal).name})")

    def note_signals(self) -> None:
        """From now on signals are noted only, as at first: there is something to save."""
        self._at_once = False

    @property
    def seconds_left(self) -> float | None:
        """Until the time limit; `None` without one."""
        return None if self._end is None else self._end - time.time()

    def find_reason(self, needed: float = 0.0) -> str | None:
        """Why to stop now, if what comes next takes `needed` seconds; `None` to go on."""
        if self._signal is not None:
            return signal.Signals(self._signal).name
        if self._parent not in (None, os.getppid()):
            return "the process that started it has ended"
        left = self.seconds_left
        if left is not None and left < needed:
            return f"--max-minutes {self.max_minutes:g}"
        return None


def find_start() -> float:
    """Time in seconds since 1970 from which a limit of minutes counts."""
    given = os.environ.get(STARTED)
    return float(given) if given else time.time() - measure_age()
