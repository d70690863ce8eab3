"""What workers that decode do: the content of a file into a square."""

import functools

from features.errors import ImageProblem
from serving.format.facts import PixelFacts
from serving.reading.pictures import GivenPicture
from serving.reading.squares import SquareReader
from serving.scoring.views import Squares
from serving.workers.bounding import bound_worker, estimate_decoding


def decode_upload(content: bytes, facts: str, file_bytes: int) -> Squares | str:
    """`(s, s, 3)`, or why the file cannot be read.

    `facts`: `PixelFacts` as JSON; together with `file_bytes`, the most that `content` has, they say
    how much memory decoding may take.
    """
    reader = _open_reader(facts, file_bytes)
    try:
        square: Squares = reader.read(GivenPicture("", lambda: bytearray(content)))[0]
    except ImageProblem as problem:
        return str(problem)
    return square


@functools.cache
def _open_reader(facts: str, file_bytes: int) -> SquareReader:
    pixels = PixelFacts.model_validate_json(facts)
    bound_worker(estimate_decoding(pixels.limits, file_bytes))
    return SquareReader(pixels)
