"""Small videos that tests are made of."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

FPS = 25


def draw_frames(seed: int, count: int, side: int = 64) -> npt.NDArray[np.uint8]:
    """`(count, side, side, 3)`: patches of colours, and a bright square that moves."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 200, (side // 8, side // 8, 3), np.uint8)
    frames = np.stack([patches.repeat(8, 0).repeat(8, 1)] * count)
    for i, frame in enumerate(frames):
        start = i * (side - 8) // max(count, 1)
        frame[start : start + 8, start : start + 8] = 255
    return frames


def write_video(
    path: Path, frames: npt.NDArray[np.uint8], codec: str = "mpeg4", group: int = 12
) -> None:
    """With groups of so many pictures, that need some before and after them where codecs can."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = group
        stream.codec_context.max_b_frames = 2
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def decode_all(path: Path) -> list[npt.NDArray[np.uint8]]:
    """All frames `(h, w, 3)`, one after the other."""
    av = pytest.importorskip("av")
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
