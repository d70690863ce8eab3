"""Pictures into rows, each decoded once for all that members see of it; without torch."""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from features.errors import DeviceMemoryError, ImageProblem
from features.faces.centerface import Detector
from features.faces.crops import PicturePart, choose_parts
from features.pixels.decoding import Pixels, decode_into
from features.pixels.kernels import PLAIN
from features.videos.addresses import cut_box
from serving.format.facts import PixelFacts, Sight
from serving.format.folders import open_locks
from serving.reading.canvases import Canvases, draw_canvases
from serving.reading.pictures import GivenPicture
from serving.reading.shown import NO_ROWS, ShownRows, join_rows, show_row
from serving.reading.videos import read_video


class ReadPicture(NamedTuple):
    """What was read of something to label."""

    name: str
    is_unit: bool
    """Its rows are parts, which are scored as one."""
    rows: ShownRows = NO_ROWS
    """One of a picture; of a video one for each frame, and of either one for each face."""
    faces: int | None = None
    """How many of the rows show a face alone; `None` where none are looked for."""
    problem: str = ""
    """Why there are no rows."""


class _Part(NamedTuple):
    """One row."""

    row: ShownRows
    is_face: bool


class PictureReader:
    """Pictures into rows; many threads may use it."""

    def __init__(self, facts: PixelFacts, detector: Detector | None = None) -> None:
        """`detector`: finds the faces that are rows; without it each picture is one."""
        self.facts = facts
        self._images = facts.build_images(str(open_locks()))
        self._detector = detector

    def read(self, picture: GivenPicture, sights: Collection[Sight]) -> ReadPicture:
        """What members of `sights` see of it.

        Raises `ImageProblem`, also for a picture that memory does not suffice for, and for pixels
        outside the limits of files.
        """
        content = picture.load()
        if isinstance(content, bytearray):
            parts = self._decode(content, sights)
        elif isinstance(content, np.ndarray):
            parts = self._show_checked(content, sights)
        else:
            limits = self.facts.limits
            frames = read_video(content, limits) if isinstance(content, Path) else content
            parts = [part for frame in frames for part in self._show_checked(frame, sights)]
            if not parts:
                raise ImageProblem("no frames")
        faces = sum(part.is_face for part in parts)
        return ReadPicture(
            picture.name,
            picture.is_unit or faces > 0,
            join_rows([part.row for part in parts]),
            faces if self._detector else None,
        )

    def attempt(self, picture: GivenPicture, sights: Collection[Sight]) -> ReadPicture:
        """As `read`; what cannot be read has a problem, and no rows."""
        try:
            return self.read(picture, sights)
        except ImageProblem as problem:
            return ReadPicture(picture.name, picture.is_unit, problem=str(problem))

    def find_faces(self, pixels: Pixels) -> npt.NDArray[np.float32] | None:
        """Those of `(h, w, 3)`, as `Detector.detect`; `None` where none are looked for."""
        return None if self._detector is None else self._detector.detect(pixels)

    def find_parts(self, pixels: Pixels) -> list[PicturePart]:
        """What of a picture `(h, w, 3)` is a row."""
        faces, how = self.find_faces(pixels), self.facts.faces
        if faces is None or how is None:
            return [PicturePart(None, None)]
        height, width = pixels.shape[:2]
        return choose_parts(faces, width, height, how)

    def draw_part(self, pixels: Pixels, part: PicturePart, sights: Collection[Sight]) -> Canvases:
        """What members of `sights` see of a part of a picture `(h, w, 3)`."""
        return draw_canvases(cut_box(pixels, part.box), sights, self.facts.equalize)

    def _decode(self, content: bytearray, sights: Collection[Sight]) -> list[_Part]:
        def show(pixels: Pixels) -> list[_Part]:
            return self._show(pixels, sights)

        try:
            return decode_into(content, self.facts.limits, self._images, show, PLAIN)
        except DeviceMemoryError as error:
            raise ImageProblem(str(error)) from None

    def _show_checked(self, pixels: Pixels, sights: Collection[Sight]) -> list[_Part]:
        height, width = pixels.shape[:2]
        if problem := self.facts.limits.find_size_problem(width, height):
            raise ImageProblem(problem)
        return self._show(pixels, sights)

    def _show(self, pixels: Pixels, sights: Collection[Sight]) -> list[_Part]:
        return [
            _Part(show_row(self.draw_part(pixels, part, sights)), part.box is not None)
            for part in self.find_parts(pixels)
        ]


def open_reader(facts: PixelFacts, folder: Path) -> PictureReader:
    """That of a bundle."""
    if facts.faces is None:
        return PictureReader(facts)
    return PictureReader(facts, Detector((folder / facts.faces.file).read_bytes()))
