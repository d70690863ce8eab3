"""Frames of a video: times evenly spread over its length, and the pixels at given times.

with open("clip.mp4", "rb") as file:
    times = list_times(file, Limits(video_frames=16))
    frames = list(read_frames(file, times))

Packets are read from start to end. Groups of pictures without a wanted frame are never decoded, the
others once, as far as the last frame that is wanted. PyAV's FFmpeg is the decoder, of a few kinds
of containers alone: others, such as playlists, may lead it to other files and to the network.
"""

import itertools
import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from features.errors import ImageProblem, PictureError
from features.settings.images import Limits

VIDEO_ENDINGS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm")
"""Of names that are read as videos, in any case."""
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm"
"""FFmpeg's names of what such files hold."""


class Frame(NamedTuple):
    """One picture of a video."""

    pixels: npt.NDArray[np.uint8]
    """`(h, w, 3)`, upright."""
    codec: str
    """FFmpeg's name in capitals, such as H264."""
    layout: str
    """FFmpeg's name of how pixels lie, such as yuv420p."""
    is_turned: bool
    """The file says that it was taken lying."""


def is_video(name: str) -> bool:
    """Whether a file is read as a video, by the ending of its name."""
    return name.lower().endswith(VIDEO_ENDINGS)


def import_av() -> Any:
    """PyAV. Raises `PictureError` where it is not installed."""
    try:
        import av  # late: only those who have videos need it
    except ImportError:
        advice = "pip install 'forgerystack[video]'"
        raise PictureError("videos", ["reading them needs PyAV"], advice) from None
    return av


def list_times(file: BinaryIO, limits: Limits) -> list[float]:
    """Times of at most `limits.video_frames` frames, each in the middle of an equal share of all.

    No frame is decoded. Raises `ImageProblem` for what is no video, or not within the limits.
    """
    with _open_video(file) as (container, stream):
        if problem := limits.find_video_problem(stream.frames, 0.0):
            raise ImageProblem(problem)
        times: list[float] = []
        for packet in _read_packets(container, stream):
            time = _tell_time(packet, stream)
            if problem := limits.find_video_problem(len(times) + 1, time):
                raise ImageProblem(problem)
            if time >= 0 and not packet.is_discard:
                times.append(time)
    if not times:
        raise ImageProblem("a video without frames")
    times.sort()
    shares = range(limits.video_frames)
    places = [int((i + 0.5) * len(times) / limits.video_frames) for i in shares]
    return list(dict.fromkeys(times[place] for place in places))


def read_frames(file: BinaryIO, times: list[float], limits: Limits) -> Iterator[Frame]:
    """Frames at `times`, which ascend, as `list_times` gives them; one at a time is in memory.

    Raises `ImageProblem`, also for pixels outside the limits.
    """
    wanted = deque(times)
    with _open_video(file) as (container, stream):
        context = stream.codec_context
        _check_size(context.width, context.height, limits)
        for frame in _decode(container, stream, wanted):
            if wanted and _tell_time(frame, stream) >= wanted[0]:
                wanted.popleft()
                _check_size(frame.width, frame.height, limits)
                pixels = frame.to_ndarray(format="rgb24")
                turns = round(frame.rotation / 90) % 4
                codec = context.codec.canonical_name.upper()
                yield Frame(np.rot90(pixels, turns), codec, frame.format.name, turns != 0)
    if wanted:
        raise ImageProblem(f"no frame at {wanted[0]:g} s")


def _decode(container: Any, stream: Any, wanted: deque[float]) -> Iterator[Any]:
    """Frames of the groups that hold a wanted one, each as far as the last of these."""
    groups = itertools.chain(_group_packets(container, stream), [[]])
    for group, following in itertools.pairwise(groups):
        end = _tell_time(following[0], stream) if following else math.inf
        for packet in group:
            if end <= wanted[0]:
                stream.codec_context.flush_buffers()
                break
            yield from packet.decode()
            if not wanted:
                return
    yield from stream.decode(None)


def _group_packets(container: Any, stream: Any) -> Iterator[list[Any]]:
    """Packets from a frame that needs no other one to the next such frame."""
    group: list[Any] = []
    for packet in _read_packets(container, stream):
        if packet.is_keyframe and group:
            yield group
            group = []
        group.append(packet)
    yield group


def _read_packets(container: Any, stream: Any) -> Iterator[Any]:
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise ImageProblem("a video whose end is missing")
        if packet.size:
            yield packet


def _tell_time(item: Any, stream: Any) -> float:
    """Seconds of a packet or frame from the stream's start, to the millisecond."""
    moment = item.pts if item.pts is not None else item.dts
    if moment is None:
        raise ImageProblem("a video whose frames have no times")
    return round(float((moment - (stream.start_time or 0)) * stream.time_base), 3)


def _check_size(width: int, height: int, limits: Limits) -> None:
    if problem := limits.find_size_problem(width, height):
        raise ImageProblem(problem)


@contextmanager
def _open_video(file: BinaryIO) -> Iterator[tuple[Any, Any]]:
    av = import_av()
    file.seek(0)
    try:
        with av.open(file, container_options={"format_whitelist": CONTAINERS}) as container:
            if not container.streams.video:
                raise ImageProblem("no video in it")
            yield container, container.streams.video[0]
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageProblem(f"no video that can be read: {reason}") from None
