"""What a worker process may take of the machine."""

import os
import resource
import signal

from features.pixels.decoding import PIXEL_BYTES
from features.settings.images import Limits

SLACK = 256 << 20
"""Bytes beside pixels and content: what libraries set aside."""


def estimate_decoding(limits: Limits, file_bytes: int) -> int:
    """Bytes that the largest picture within `limits` takes at most to decode."""
    return max(PIXEL_BYTES.values()) * limits.max_pixels + 3 * file_bytes + SLACK


def bound_worker(memory: int) -> None:
    """Lets this process take `memory` more bytes, and leaves its end to the service."""
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to all processes of a terminal or a unit
        signal.signal(number, signal.SIG_IGN)
    # Nobody reads what C libraries complain of: the pipe would fill up.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_measure_addresses() + memory, hard))


def _measure_addresses() -> int:
    """Bytes of addresses that this process has taken."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * resource.getpagesize()
