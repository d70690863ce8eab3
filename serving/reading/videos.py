"""Videos: frames from all over each, scored as one unit."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from features.errors import ImageProblem, PictureError
from serving.reading.pictures import GivenPicture

VIDEO_ENDINGS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm")
FRAMES = 16
"""Of each video: 8 to 32 are usual, and more of one video say little new."""


@dataclass(frozen=True)
class VideoSource:
    """A video, of which `FRAMES` frames are looked at, evenly spread over its length."""

    path: Path
    name: str

    def list_names(self) -> list[str]:
        """Its own."""
        return [self.name]

    def open(self) -> Iterator[GivenPicture]:
        """One unit. Raises `PictureError` where PyAV is missing."""
        _import_av(self.path)
        yield GivenPicture(self.name, partial(read_frames, self.path), is_unit=True)


def read_frames(path: Path) -> Iterator[npt.NDArray[np.uint8]]:
    """Frames `(h, w, 3)`, one at a time in memory; all of a short video. Raises `ImageProblem`."""
    av = _import_av(path)
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            count = stream.frames or sum(1 for packet in container.demux(stream) if packet.size)
            container.seek(0)
            wanted = {int((i + 0.5) * count / FRAMES) for i in range(FRAMES)}
            for i, frame in enumerate(container.decode(stream)):
                if i in wanted:
                    yield frame.to_ndarray(format="rgb24")
    except (OSError, ValueError, IndexError) as error:  # av's own errors are such
        raise ImageProblem(f"no video that can be read: {error}") from None


def _import_av(path: Path) -> Any:
    try:
        import av  # late: only those who label videos need it
    except ImportError:
        advice = "pip install 'forgerystack[video]'"
        raise PictureError(str(path), ["reading it needs PyAV"], advice) from None
    return av
