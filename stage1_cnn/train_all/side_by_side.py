"""Trainings side by side: a device that is free takes the next member of a queue."""

import time
from collections import deque
from collections.abc import Callable, Sequence

from features.runtime.cli import STOPPED
from features.runtime.interruption import Interruption
from stage1_cnn.train_all.process import Name, TrainingProcess

GRACE = 60.0
"""Seconds that trainings have to save in before they are killed."""
TICK = 0.1
"""Seconds between looks at who has ended."""


class Queue:
    """Who is next, and on which device."""

    def __init__(self, waiting: Sequence[Name], devices: Sequence[str]) -> None:
        self._waiting, self._free = deque(waiting), deque(devices)
        self._closed = False

    def hand_out(self) -> list[tuple[Name, str]]:
        """Members that start now, in their order, each on a device that is no longer free."""
        count = 0 if self._closed else min(len(self._waiting), len(self._free))
        return [(self._waiting.popleft(), self._free.popleft()) for _ in range(count)]

    def give_back(self, device: str) -> None:
        """`device` is free again."""
        self._free.append(device)

    def close(self) -> None:
        """Nobody starts any more."""
        self._closed = True

    @property
    def left(self) -> list[Name]:
        """Who has not been handed out."""
        return list(self._waiting)


class SideBySide:
    """The trainings of a queue. Where there is a reason to stop, or a training has stopped by
    itself, no other one starts, and those that run save and end."""

    def __init__(
        self,
        queue: Queue,
        start: Callable[[Name, str], TrainingProcess],
        finish: Callable[[TrainingProcess, int, bool], None],
        interruption: Interruption,
    ) -> None:
        """`finish` is called with each training that has ended, its exit code, and whether it was
        asked to stop; one at a time, while the others go on."""
        self._queue, self._start, self._finish = queue, start, finish
        self._interruption = interruption
        self._running: list[TrainingProcess] = []
        self._ended: list[tuple[TrainingProcess, int]] = []
        self._asked_at: float | None = None

    def run(self) -> None:
        """Trains all. However it ends, no process of a training is left."""
        try:
            while self._advance():
                time.sleep(TICK)
        finally:
            self._stop_all()
            end = time.monotonic() + GRACE
            while self._running and time.monotonic() < end:
                self._collect()
                time.sleep(TICK)
            self._kill_all()

    def _advance(self) -> bool:
        """Whether there is still something to wait for."""
        if self._asked_at is None and self._interruption.find_reason() is not None:
            self._asked_at = time.monotonic()
            self._stop_all()
        for name, device in self._queue.hand_out():
            self._running.append(self._start(name, device))
        if self._ended:  # after others have taken their places
            training, code = self._ended.pop(0)
            self._finish(training, code, self._asked_at is not None)
        self._collect()
        if self._asked_at is not None and time.monotonic() - self._asked_at > GRACE:
            self._kill_all()
        return bool(self._running or self._ended)

    def _collect(self) -> None:
        for training in [*self._running]:
            if (code := training.find_code()) is not None:
                self._running.remove(training)
                self._ended.append((training, code))
                self._queue.give_back(training.device)
                if code == STOPPED:
                    self._queue.close()

    def _stop_all(self) -> None:
        self._queue.close()
        for training in self._running:
            training.stop()

    def _kill_all(self) -> None:
        for training in self._running:
            training.kill()
