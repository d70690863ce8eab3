"""Which process is missing, when those that wait for it give up.

calls = open_roll_call()
calls.find_lost()                            # "process 1 of 4 (node-b, pid 4711)"
"""

import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import torch.distributed as dist
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from features.errors import ConfigError

JOIN = timedelta(minutes=10)
"""All must have started by then: one machine may load torch from a slow disk."""
ANSWER = 10.0
"""Seconds that the others have to say that they are there. They gave up at the same time."""
VARIABLE = "FORGERYSTACK_PROCESS_TIMEOUT"
TIMEOUT = 60.0
"""Seconds that a process waits for the others; what one does alone takes less, such as saving."""


@dataclass(frozen=True)
class RollCall:
    """What the processes write where all of them can read it, beside their computations."""

    store: Store
    rank: int
    places: tuple[str, ...]
    """Of each process: its machine and number there."""

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
        return [
            f"process {rank} of {len(self.places)} ({self.places[rank]})" for rank in sorted(absent)
        ]


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
