"""What workers that decode do: the content of a file into what networks see of it."""

import functools
import io
import math
from pathlib import Path

import numpy as np
from PIL import Image

from features.errors import PictureError
from features.faces.centerface import LONGEST
from features.faces.crops import MOST
from features.settings.sections import Section
from serving.format.facts import PixelFacts, Sight
from serving.format.files import check_same_bundle
from serving.reading.pictures import GivenPicture
from serving.reading.reader import PictureReader, ReadPicture, open_reader
from serving.workers.bounding import bound_worker, estimate_decoding


class DecodingPlan(Section):
    """All that decoding depends on."""

    bundle: Path
    pixels: PixelFacts
    """Those of the bundle, with limits that may be narrower."""
    sights: tuple[Sight, ...]
    digest: str
    """Of the bundle: the detector of another one in its folder is refused."""
    file_bytes: int
    """The most that a content has; with the limits it says how much memory decoding may take."""


def decode_upload(content: bytes, plan: str) -> ReadPicture:
    """What was read of a file, without a name; `plan`: `DecodingPlan` as JSON."""
    reader, sights = _open_reader(plan)
    return reader.attempt(GivenPicture("", lambda: bytearray(content)), sights)


def prepare_decoding(plan: str) -> None:
    """What a process does before its first picture: it decodes one that is no trouble.

    Raises `PictureError` where that cannot be read, and `BundleError`.
    """
    read = decode_upload(encode_black_square(DecodingPlan.model_validate_json(plan).pixels), plan)
    if read.problem:
        raise PictureError("a picture of the service's own", [read.problem])


def encode_black_square(pixels: PixelFacts) -> bytes:
    """A PNG as large as networks see it, where limits allow that."""
    side = min(pixels.size, math.isqrt(pixels.limits.max_pixels))
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@functools.cache
def _open_reader(text: str) -> tuple[PictureReader, tuple[Sight, ...]]:
    """Once in a process; a detector of faces runs before its memory is bounded."""
    plan = DecodingPlan.model_validate_json(text)
    reader = open_reader(plan.pixels, plan.bundle)
    if plan.pixels.faces:
        check_same_bundle(plan.bundle, plan.digest)
    reader.find_parts(np.zeros((LONGEST, LONGEST, 3), np.uint8))
    squares = sum(sight.most * sight.side**2 * 3 for sight in plan.sights)
    rows = 1 + MOST if plan.pixels.faces else 1
    # Squares are there twice, once on their way to the service.
    bound_worker(estimate_decoding(plan.pixels.limits, plan.file_bytes) + 2 * rows * squares)
    return reader, plan.sights
