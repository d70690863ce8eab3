"""Content into squares, as `prepare` makes them: without torch, to the same bits."""

import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from features.errors import DeviceMemoryError
from features.pixels.decoding import decode_picture, make_square
from features.pixels.kernels import PLAIN
from features.pixels.reading import ImageProblem
from features.settings.images import Images, Limits
from serving.format.facts import PixelFacts
from serving.reading.pictures import GivenPicture


class SquareReader:
    """Pictures into squares of one side; many threads may use it."""

    def __init__(self, facts: PixelFacts) -> None:
        self._limits: Limits = facts.limits
        self._images: Images = facts.build_images(str(Path(tempfile.gettempdir(), "forgerystack")))

    def read(self, picture: GivenPicture) -> npt.NDArray[np.uint8]:
        """`(s, s, 3)`. Raises `ImageProblem`, also for a picture that memory does not suffice for,
        and for pixels outside the limits of files."""
        content = picture.load()
        if isinstance(content, np.ndarray):
            height, width = content.shape[:2]
            if problem := self._limits.find_problem(self._limits.formats[0], width, height):
                raise ImageProblem(problem)
            return make_square(content, self._images, PLAIN)[0]
        try:
            return decode_picture(content, self._limits, self._images, PLAIN).square
        except DeviceMemoryError as error:
            raise ImageProblem(str(error)) from None
