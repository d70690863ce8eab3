"""Content into squares, as `prepare` makes them: without torch, to the same bits."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from features.errors import DeviceMemoryError, ImageProblem
from features.pixels.decoding import decode_picture, make_square
from features.pixels.kernels import PLAIN
from features.settings.images import Images, Limits
from serving.format.facts import PixelFacts
from serving.format.folders import LOCKS
from serving.reading.pictures import GivenPicture
from serving.reading.videos import read_video


class SquareReader:
    """Pictures into squares of one side; many threads may use it."""

    def __init__(self, facts: PixelFacts) -> None:
        self._limits: Limits = facts.limits
        self._images: Images = facts.build_images(str(LOCKS))

    def read(self, picture: GivenPicture) -> npt.NDArray[np.uint8]:
        """`(k, s, s, 3)`: a square for each frame, one for all that has none.

        Raises `ImageProblem`, also for a picture that memory does not suffice for, and for pixels
        outside the limits of files.
        """
        content = picture.load()
        if isinstance(content, bytearray):
            try:
                square = decode_picture(content, self._limits, self._images, PLAIN).square
            except DeviceMemoryError as error:
                raise ImageProblem(str(error)) from None
            return square[None]
        if isinstance(content, np.ndarray):
            return self._shrink(content)[None]
        given = read_video(content, self._limits) if isinstance(content, Path) else content
        frames = [self._shrink(frame) for frame in given]
        if not frames:
            raise ImageProblem("no frames")
        return np.stack(frames)

    def _shrink(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        height, width = pixels.shape[:2]
        if problem := self._limits.find_size_problem(width, height):
            raise ImageProblem(problem)
        return make_square(pixels, self._images, PLAIN)[0]
