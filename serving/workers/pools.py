"""Processes that may die, and do not take the service along."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import TypeVar, TypeVarTuple

from anyio import (
    BrokenWorkerProcess,
    CancelScope,
    fail_after,
    get_cancelled_exc_class,
    to_process,
)
from anyio.from_thread import BlockingPortal, start_blocking_portal
from anyio.lowlevel import checkpoint_if_cancelled

from features.errors import PipelineError

Given = TypeVarTuple("Given")
Found = TypeVar("Found")
START_SECONDS = 300
"""For a process to start and prepare: of a large bundle, on a machine under load."""


class WorkerLostError(Exception):
    """A worker died of its task, or was killed because it took too long."""


class WorkerStartError(PipelineError):
    """A worker did not get as far as a task."""


class WorkerPool:
    """Runs functions in processes, each with a pipe of its own: whatever ends one of them ends its
    task alone, and the next task gets a new one."""

    def __init__(
        self,
        count: int,
        seconds: float,
        note_loss: Callable[[str], None],
        prepare: Callable[[], object],
    ) -> None:
        """`seconds` that a task may take once its process has run `prepare`, which is in no task's
        time; `note_loss` hears of every worker that is lost, in any thread."""
        self._stack = ExitStack()
        self._free: asyncio.LifoQueue[_Seat] = asyncio.LifoQueue()
        for _ in range(count):
            portal = self._stack.enter_context(start_blocking_portal())
            seat = _Seat(portal, seconds, note_loss, prepare)
            self._stack.callback(seat.give_up)
            self._free.put_nowait(seat)
        self._starts = asyncio.Lock()

    def stop(self) -> None:
        """Ends all processes."""
        self._stack.close()

    async def start(self) -> None:
        """Starts all processes that are not there: whoever runs a task then waits for none.

        Raises `WorkerStartError`, and what `prepare` raises.
        """
        async with self._starts:
            free = [self._free.get_nowait() for _ in range(self._free.qsize())]
            starts = (self._sit(seat, seat.start) for seat in free)
            failures: list[BaseException | None]
            failures = await asyncio.gather(*starts, return_exceptions=True)
        for failure in failures:
            if failure is not None:
                raise failure

    async def run(self, function: Callable[[*Given], Found], *args: *Given) -> Found:
        """What `function` returns or raises; raises `WorkerLostError`, or as `start`.

        Whoever is cancelled while it runs has its process killed, but none that still prepares.
        """
        seat = await self._free.get()
        return await self._sit(seat, lambda: seat.run(function, *args))

    async def _sit(self, seat: "_Seat", work: Callable[[], Awaitable[Found]]) -> Found:
        """In the seat's thread; the seat is free again when the work ends, whoever waits for it."""
        loop = asyncio.get_running_loop()

        async def sit() -> Found:
            try:
                return await work()
            finally:
                loop.call_soon_threadsafe(self._free.put_nowait, seat)

        return await asyncio.wrap_future(seat.portal.start_task_soon(sit))


class _Seat:
    """A place for one process. anyio keeps processes by event loop: that of a seat runs in a thread
    of its own, so that nobody else gets its process."""

    def __init__(
        self,
        portal: BlockingPortal,
        seconds: float,
        note_loss: Callable[[str], None],
        prepare: Callable[[], object],
    ) -> None:
        self.portal = portal
        self._seconds, self._note_loss, self._prepare = seconds, note_loss, prepare
        self._process: int | None = None
        """One that is prepared."""
        self._preparing = CancelScope()

    def give_up(self) -> None:
        """Ends a process that still prepares."""
        self.portal.call(self._preparing.cancel)

    async def start(self) -> None:
        """Makes sure that there is a process that is prepared.

        Not to be cancelled by who asked: it would be begun anew again and again where it takes
        long, and anyio leaves a process behind, for good, whose start is cancelled.
        """
        if self._process and _is_alive(self._process):
            return
        self._process, reason = None, "the service ends"
        try:
            with CancelScope(shield=True) as self._preparing, fail_after(START_SECONDS):
                self._process = await to_process.run_sync(_prepare, self._prepare, cancellable=True)
        except BrokenWorkerProcess:
            reason = "it died"
            self._note_loss("died")
        except TimeoutError:
            reason = f"it took longer than {START_SECONDS:g} s"
            self._note_loss("timeout")
        if self._process is None:
            raise WorkerStartError(f"A process that looks at pictures did not start: {reason}")

    async def run(self, function: Callable[[*Given], Found], *args: *Given) -> Found:
        await self.start()
        await checkpoint_if_cancelled()  # the next one gets the process
        try:
            with fail_after(self._seconds):
                return await to_process.run_sync(function, *args, cancellable=True)
        except BrokenWorkerProcess:
            self._lose("died")
            raise WorkerLostError("the process that looked at it died") from None
        except TimeoutError:
            self._lose("timeout")
            raise WorkerLostError(f"it took longer than {self._seconds:g} s") from None
        except get_cancelled_exc_class():
            self._lose("timeout")
            raise

    def _lose(self, reason: str) -> None:
        self._process = None
        self._note_loss(reason)


def _prepare(prepare: Callable[[], object]) -> int:
    """In the process, whose number it returns."""
    prepare()
    return os.getpid()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
