"""A training that may be cut off: when it saves, when it stops, and how long it will take."""

import logging
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from features.errors import Stopped
from features.runtime.interruption import Interruption
from features.runtime.progress import format_seconds
from stage1_cnn.runtime.checkpoints import Checkpoints
from stage1_cnn.runtime.options import SAVE_MINUTES
from stage1_cnn.scoring.processes import Processes

SAVING_TIME = 0.02
"""The fraction of the time that goes into saving, at most."""
WARM_UP, MEASURED = 2, 8
"""Steps that are not measured (libraries settle), and that are."""
SHORT = 10.0
"""Seconds that nobody needs to be told of."""
_log = logging.getLogger("forgerystack")
State = dict[str, Any]


class Session:
    """Asked after each step, by every process. Without `checkpoints` it only stops.

    `later`: trainings of as many steps that follow, for what is said about the time.
    """

    def __init__(
        self,
        processes: Processes,
        interruption: Interruption,
        checkpoints: Checkpoints | None = None,
        save_minutes: float = SAVE_MINUTES,
        later: int = 0,
    ) -> None:
        self._processes, self._interruption = processes, interruption
        self._checkpoints = checkpoints if processes.is_first else None
        self._saves = checkpoints is not None
        self._every = 60 * save_minutes
        self._later = later
        self._saved_at = self._last = time.monotonic()
        self._save_seconds = 0.0
        self._step_seconds: list[float] | None = [] if checkpoints else None
        self._waited = 0

    def restore(self) -> State | None:
        """The latest saved state, the same in every process."""
        state = self._checkpoints.load() if self._checkpoints else None
        state = self._processes.broadcast(state) if self._saves else None
        self._last = self._saved_at = time.monotonic()
        return state

    def settle(
        self,
        step: int,
        total: int,
        images: int,
        make_state: Callable[[], State],
        after_next: float = 0.0,
    ) -> None:
        """Called after `step` of `total` steps, each of so many images; saves and stops if due.

        `after_next`: seconds of other work between the next step and its call. The state after
        the last step is saved too: what follows may be cut off as well. Raises `Stopped`.
        """
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        if self._step_seconds is not None:
            self._measure(seconds, step, total, images)
        needed = seconds + after_next + self._save_seconds
        reason = self._interruption.find_reason(2 * needed)
        wait = max(self._every, self._save_seconds / SAVING_TIME) if self._every else 0.0
        due = now - self._saved_at >= wait
        stop, save = self._processes.any(reason is not None, due or step == total)
        if self._saves and (save or stop):
            self.save(step, make_state())
        if stop:
            cause = reason or "another process was"
            raise Stopped(f"after step {step:,} of {total:,} ({cause})")

    def save(self, step: int, state: State) -> None:
        """Keeps `state`, the latest one from here on."""
        start = time.monotonic()
        if self._checkpoints:
            self._checkpoints.save(step, state)
        self._last = self._saved_at = time.monotonic()
        self._save_seconds = self._last - start

    def _measure(self, seconds: float, step: int, total: int, images: int) -> None:
        """Says once, after a few steps, how long the rest takes."""
        self._waited += 1
        if self._waited <= WARM_UP and step < total:
            return
        assert self._step_seconds is not None
        self._step_seconds.append(seconds)
        enough = len(self._step_seconds) >= min(MEASURED, (total - step) // 2)
        if enough or sum(self._step_seconds) > 20:
            each = statistics.median(self._step_seconds)
            to_go = total - step + self._later * total
            self._step_seconds = None
            left = self._interruption.seconds_left
            if left is not None or each * to_go >= SHORT:
                _log.info(describe_time(to_go, each, images, left))


@dataclass(frozen=True)
class Sessions:
    """When the trainings of a member stop, and where they keep what they go on from."""

    processes: Processes
    interruption: Interruption
    folder: Path | None = None
    """`None`: nothing is kept."""
    save_minutes: float = SAVE_MINUTES

    def open(self, name: str = "", later: int = 0) -> Session:
        """That of one training, in a folder of this name; `later` as of `Session`."""
        checkpoints = None if self.folder is None else Checkpoints(self.folder / name)
        return Session(self.processes, self.interruption, checkpoints, self.save_minutes, later)

    def drop(self, name: str) -> None:
        """Removes what a training has kept."""
        if self.folder is not None and self.processes.is_first:
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def check_time(self, what: str) -> None:
        """Raises `Stopped` where one process has a reason to."""
        reason = self.interruption.find_reason()
        if self.processes.any(reason is not None)[0]:
            raise Stopped(f"{what} ({reason or 'another process was'})")


def describe_time(steps: int, each: float, images: int, left: float | None) -> str:
    """What to expect of `steps` that take `each` seconds, with `left` seconds to go.

    `to go: 23,400 steps, about 3 h 10 min at 410 images/s; time for 31 % of them (--max-minutes)`.
    """
    seconds = steps * each
    pace = images / each if each > 0 else 0.0
    text = f"to go: {steps:,} steps, about {format_seconds(seconds)} at {pace:,.0f} images/s"
    if left is None:
        return text
    if left >= seconds:
        return f"{text}; --max-minutes is enough"
    return f"{text}; time for {max(0, int(100 * left / seconds))} % of them (--max-minutes)"
