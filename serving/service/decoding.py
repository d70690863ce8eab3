"""What a worker does: the content of a file into a square, within a bound of memory."""

import functools
import os
import resource
import signal

from features.pixels.decoding import PIXEL_BYTES
from features.pixels.reading import ImageProblem
from serving.format.facts import PixelFacts
from serving.reading.pictures import Picture
from serving.reading.squares import SquareReader
from serving.scoring.views import Squares

SLACK = 256 << 20
"""Bytes beside pixels and content: what libraries set aside."""


def decode_upload(content: bytes, facts: str, file_bytes: int) -> Squares | str:
    """`(s, s, 3)`, or why the file cannot be read.

    `facts`: `PixelFacts` as JSON; together with `file_bytes`, the most that `content` has, they say
    how much memory decoding may take.
    """
    reader = _prepare(facts, file_bytes)
    try:
        return reader.read(Picture("", lambda: bytearray(content)))
    except ImageProblem as problem:
        return str(problem)


@functools.cache
def _prepare(facts: str, file_bytes: int) -> SquareReader:
    """Once in a process: bounds its memory, and leaves signals and its end to the service."""
    pixels = PixelFacts.model_validate_json(facts)
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to all processes of a terminal or a unit
        signal.signal(number, signal.SIG_IGN)
    # Nobody reads what C libraries complain of: the pipe would fill up.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    most = max(PIXEL_BYTES.values()) * pixels.limits.max_pixels + 3 * file_bytes + SLACK
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_measure_memory() + most, hard))
    return SquareReader(pixels)


def _measure_memory() -> int:
    """Bytes of addresses that this process has taken."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * resource.getpagesize()
