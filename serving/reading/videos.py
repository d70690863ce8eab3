"""Videos: frames from all over each, as pictures."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from features.errors import PictureError
from features.pixels.reading import ImageProblem
from serving.reading.pictures import Content, GivenPicture

VIDEO_ENDINGS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm")
FRAMES = 16
"""Of each video: 8 to 32 are usual, and more of one video say little new."""


@dataclass(frozen=True)
class VideoSource:
    """A video, of which `FRAMES` frames are looked at, evenly spread over its length."""

    path: Path
    name: str

    def list_names(self) -> list[str]:
        """`clip.mp4#0` …: the frames, by number of those that are looked at."""
        return [f"{self.name}#{i}" for i in range(FRAMES)]

    def open(self) -> Iterator[GivenPicture]:
        """The frames; those that a short or damaged video lacks cannot be read."""
        try:
            frames: list[Any] = _read_frames(self.path)
            problem = "the video has fewer frames"
        except OSError as error:  # av's errors are such
            frames, problem = [], f"no video that can be read: {error}"
        for i, name in enumerate(self.list_names()):
            frame = frames[i] if i < len(frames) else None
            yield GivenPicture(name, partial(_check, frame, problem))


def _check(frame: Content | None, problem: str) -> Content:
    if frame is None:
        raise ImageProblem(problem)
    return frame


def _read_frames(path: Path) -> list[Any]:
    try:
        import av  # late: only those who label videos need it
    except ImportError:
        problem = f"reading {path.name} needs PyAV"
        raise PictureError("pictures", [problem], "pip install 'forgerystack[video]'") from None
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        count = stream.frames or sum(1 for packet in container.demux(stream) if packet.size)
        container.seek(0)
        wanted = {int((i + 0.5) * count / FRAMES) for i in range(FRAMES)}
        frames = container.decode(stream)
        return [f.to_ndarray(format="rgb24") for i, f in enumerate(frames) if i in wanted]
