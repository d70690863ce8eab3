"""Processes that may die, and do not take the service along."""

import asyncio
import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar, TypeVarTuple

from anyio import BrokenWorkerProcess, CancelScope, CapacityLimiter, Lock, fail_after, to_process
from anyio.from_thread import BlockingPortal, start_blocking_portal

Given = TypeVarTuple("Given")
Found = TypeVar("Found")
START_SECONDS = 60
"""For a process to start: anyio gives up after 20 by itself."""


class WorkerLostError(Exception):
    """A worker died of its task, or was killed because it took too long."""


class WorkerPool:
    """Runs functions in processes, each with a pipe of its own: whatever ends one of them ends its
    task alone, and the next task gets a new one.

    anyio keeps processes by event loop: that of this pool runs in a thread of its own, so that no
    other pool gets its processes.
    """

    def __init__(self, count: int, seconds: float, note_loss: Callable[[str], None]) -> None:
        """`seconds` that a task may take once it has a process; `note_loss` hears of every worker
        that is lost."""
        self._seconds = seconds
        self._note_loss = note_loss
        # Two, since a task waits for the first without its time being counted.
        self._turns, self._processes = CapacityLimiter(count), CapacityLimiter(count)
        self._starts = Lock()
        self._waiting = 0
        """Processes that are known to wait for a task; one too few does no harm."""
        self._stack = ExitStack()
        self._portal: BlockingPortal = self._stack.enter_context(start_blocking_portal())

    def stop(self) -> None:
        """Ends all processes."""
        self._stack.close()

    async def run(self, function: Callable[[*Given], Found], *args: *Given) -> Found:
        """What `function` returns or raises; raises `WorkerLostError`.

        Whoever is cancelled while it runs has its process killed.
        """
        return await asyncio.wrap_future(self._portal.start_task_soon(self._run, function, *args))

    async def _run(self, function: Callable[[*Given], Found], *args: *Given) -> Found:
        async with self._turns:
            try:
                await self._claim()
                with fail_after(self._seconds):
                    found = await to_process.run_sync(
                        function, *args, cancellable=True, limiter=self._processes
                    )
                self._waiting += 1
                return found
            except BrokenWorkerProcess:
                self._note_loss("died")
                raise WorkerLostError("the process that looked at it died") from None
            except TimeoutError:
                self._note_loss("timeout")
                raise WorkerLostError(f"it took longer than {self._seconds:g} s") from None

    async def _claim(self) -> None:
        """Makes sure that a process waits for the task, which takes it at once.

        anyio leaves a process behind, for good, whose start is cancelled: where processes start
        slowly, under load, there would be more and more of them.
        """
        if self._waiting:
            self._waiting -= 1
            return
        async with self._starts:
            with CancelScope(shield=True), fail_after(START_SECONDS):
                await to_process.run_sync(os.getpid, cancellable=True, limiter=self._processes)
