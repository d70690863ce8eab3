"""Which process is missing, when those that wait for it give up.

calls = open_roll_call()
with calls.meet_after(timeout):              # alone, for hours if need be; at its end all are there
    decode()
calls.find_lost()                            # "process 1 of 4 (node-b, pid 4711)"
"""

import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count

import torch.distributed as dist
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from features.errors import ConfigError, LostProcessError

JOIN = timedelta(minutes=10)
"""All must have started by then: one machine may load torch from a slow disk."""
ANSWER = 10.0
"""Seconds that the others have to say that they are there. They gave up at the same time."""
VARIABLE = "FORGERYSTACK_PROCESS_TIMEOUT"
TIMEOUT = 60.0
"""Seconds that a process waits for the others; what one does alone takes less, such as saving."""
PAUSE = 1.0
"""Seconds between two signs of life, at most."""
DONE = b"done"


@dataclass(frozen=True)
class RollCall:
    """What the processes write where all of them can read it, beside their computations."""

    store: Store
    rank: int
    places: tuple[str, ...]
    """Of each process: its machine and number there."""
    _meetings: Iterator[int] = field(default_factory=count, repr=False)

    @contextmanager
    def meet_after(self, timeout: timedelta) -> Iterator[None]:
        """What a process does alone, however long; at its end it waits until all have done it.

        Raises `LostProcessError` where one that is not done gives no sign of life for `timeout`.
        """
        meeting, ended = next(self._meetings), threading.Event()
        pause = min(PAUSE, timeout.total_seconds() / 4)
        signs = threading.Thread(target=self._live, args=(meeting, ended, pause), daemon=True)
        signs.start()
        try:
            yield
        finally:
            ended.set()
            signs.join()
        self.store.set(f"meeting/{meeting}/{self.rank}", DONE.decode())
        self._wait_for_all(meeting, timeout.total_seconds(), pause)

    def _live(self, meeting: int, ended: threading.Event, pause: float) -> None:
        """Gives signs of life until `ended`; where nobody takes them, the meeting says so."""
        with suppress(RuntimeError):
            for number in count():
                self.store.set(f"meeting/{meeting}/{self.rank}", str(number))
                if ended.wait(pause):
                    return

    def _wait_for_all(self, meeting: int, seconds: float, pause: float) -> None:
        seen = dict.fromkeys(set(range(len(self.places))) - {self.rank}, (b"", time.monotonic()))
        while seen:
            for rank, (before, _) in list(seen.items()):
                key = f"meeting/{meeting}/{rank}"
                sign = self.store.get(key) if self.store.check([key]) else b""
                if sign == DONE:
                    del seen[rank]
                elif sign != before:
                    seen[rank] = sign, time.monotonic()
            lost = [rank for rank, (_, at) in seen.items() if time.monotonic() - at > seconds]
            if lost:
                raise LostProcessError(self._name(lost), seconds)
            time.sleep(pause / 4)

    def _name(self, ranks: Iterable[int]) -> list[str]:
        total = len(self.places)
        return [f"process {rank} of {total} ({self.places[rank]})" for rank in sorted(ranks)]

    def find_lost(self) -> list[str]:
        """Those that do not say within `ANSWER` seconds that they are there."""
        absent = set(range(len(self.places))) - {self.rank}
        end = time.monotonic() + ANSWER
        # What is written is kept by a launcher, which ends with its own processes.
        with suppress(RuntimeError):
            self.store.set(f"here/{self.rank}", "1")
            while absent and time.monotonic() < end:
                absent = {rank for rank in absent if not self.store.check([f"here/{rank}"])}
                time.sleep(0.1)
        return self._name(absent)


def open_roll_call() -> RollCall:
    """Waits until all processes that `torchrun` started are there."""
    store, rank, world = next(rendezvous("env://", timeout=JOIN))
    store.set(f"place/{rank}", f"{socket.gethostname()}, pid {os.getpid()}")
    keys = [f"place/{other}" for other in range(world)]
    store.wait(keys, JOIN)
    return RollCall(store, rank, tuple(store.get(key).decode() for key in keys))


def read_timeout() -> timedelta:
    """Of `FORGERYSTACK_PROCESS_TIMEOUT`, in seconds. Raises `ConfigError` for what is no number."""
    given = os.environ.get(VARIABLE) or str(TIMEOUT)
    try:
        seconds = float(given)
        if not 0 < seconds < 1e6:
            raise ValueError
    except ValueError:
        raise ConfigError("environment", [f"{VARIABLE}={given}: not a number of seconds"]) from None
    return timedelta(seconds=seconds)


def is_of_connection(error: RuntimeError) -> bool:
    """Whether the others could not be reached; else it is an error of this process itself."""
    return isinstance(error, dist.DistError) or "gloo/transport" in str(error)
