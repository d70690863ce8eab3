"""Processes that may die, and do not take the service along."""

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from anyio import BrokenWorkerProcess, CapacityLimiter, fail_after, to_process

Given = TypeVarTuple("Given")
Found = TypeVar("Found")


class WorkerLostError(Exception):
    """A worker died of its task, or was killed because it took too long."""


class WorkerPool:
    """Runs functions in processes, each with a pipe of its own: whatever ends one of them ends its
    task alone, and the next task gets a new one. All pools of an event loop share the processes."""

    def __init__(self, count: int, seconds: float, note_loss: Callable[[str], None]) -> None:
        """`seconds` that a task may take; `note_loss` hears of every worker that is lost."""
        self.count = count
        self._seconds = seconds
        self._note_loss = note_loss
        # Two, since a task waits for the first without its time being counted.
        self._turns, self._processes = CapacityLimiter(count), CapacityLimiter(count)

    @property
    def waiting(self) -> int:
        """Tasks that wait for a process."""
        return self._turns.statistics().tasks_waiting

    async def run(self, function: Callable[[*Given], Found], *args: *Given) -> Found:
        """What `function` returns or raises; raises `WorkerLostError`."""
        async with self._turns:
            try:
                with fail_after(self._seconds):
                    return await to_process.run_sync(
                        function, *args, cancellable=True, limiter=self._processes
                    )
            except BrokenWorkerProcess:
                self._note_loss("died")
                raise WorkerLostError("its decoder died") from None
            except TimeoutError:
                self._note_loss("timeout")
                problem = f"it took longer than {self._seconds:g} s to decode"
                raise WorkerLostError(problem) from None
