"""Videos: frames from all over each, scored as one unit."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from features.errors import ImageProblem
from features.settings.images import Limits
from features.videos.frames import import_av, list_times, read_frames
from serving.reading.pictures import GivenPicture, tell_file


@dataclass(frozen=True)
class VideoSource:
    """A video, of which as many frames are looked at as in training."""

    path: Path
    name: str

    def list_names(self) -> list[str]:
        """Its own. Raises `PictureError` where PyAV is missing."""
        import_av()
        return [self.name]

    def open(self) -> Iterator[GivenPicture]:
        """One unit."""
        load, state = partial(Path, self.path), tell_file(self.path)
        yield GivenPicture(self.name, load, is_unit=True, state=state)


def read_video(path: Path, limits: Limits) -> Iterator[npt.NDArray[np.uint8]]:
    """Frames `(h, w, 3)`, those that `prepare` takes; one at a time is in memory.

    Raises `ImageProblem`.
    """
    try:
        with open(path, "rb") as file:
            for frame in read_frames(file, list_times(file, limits), limits):
                yield frame.pixels
    except OSError as error:
        raise ImageProblem(f"cannot be read: {error.strerror}") from None
