"""Sixteen frames of a video: ours, by groups of pictures, beside decoding all frames in turn.

The video is made here: 1280 x 720, H.264, 25 frames a second, groups of 250 as x264 makes them by
itself, and of 25. Both sides give the same frames; the ratio says how much longer all of them take.

    python -m benchmarks.videos [--quick]
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from features.settings.images import Limits
from features.videos.frames import list_times, read_frames

LIMITS = Limits()
SIDES = (720, 1280)


def write_clip(path: Path, seconds: int, group: int) -> None:
    """Coloured patches that move."""
    import av

    rng = np.random.default_rng(0)
    patches = rng.integers(0, 255, (SIDES[0] // 16, SIDES[1] // 16, 3), np.uint8)
    pixels = patches.repeat(16, 0).repeat(16, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.height, stream.width = SIDES
        stream.pix_fmt, stream.codec_context.gop_size = "yuv420p", group
        for i in range(25 * seconds):
            frame = av.VideoFrame.from_ndarray(np.roll(pixels, 3 * i, 1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def read_ours(path: Path) -> list[np.ndarray]:
    """As `prepare` and serving."""
    with open(path, "rb") as file:
        times = list_times(file, LIMITS)
        return [frame.pixels for frame in read_frames(file, times, LIMITS)]


def read_all(path: Path) -> list[np.ndarray]:
    """All frames are decoded, those at the wanted places kept."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        count = stream.frames
        wanted = {int((i + 0.5) * count / LIMITS.video_frames) for i in range(LIMITS.video_frames)}
        return [
            frame.to_ndarray(format="rgb24")
            for i, frame in enumerate(container.decode(stream))
            if i in wanted
        ]


def main(quick: Annotated[bool, typer.Option(help="10 seconds of video.")] = False) -> None:
    """Print a line for each length of the groups."""
    seconds, turns = (10, 3) if quick else (120, 5)
    with tempfile.TemporaryDirectory() as folder:
        for group in (25, 250):
            path = Path(folder, f"{group}.mp4")
            write_clip(path, seconds, group)
            taken: dict[str, list[float]] = {"ours": [], "all": []}
            for _ in range(turns):
                found = []
                for name, read in (("ours", read_ours), ("all", read_all)):
                    start = time.process_time()
                    found.append(read(path))
                    taken[name].append(time.process_time() - start)
                for one, other in zip(*found, strict=True):
                    np.testing.assert_array_equal(one, other)
            ours, whole = (statistics.median(times) for times in taken.values())
            print(
                f"{seconds} s in groups of {group}: ours {ours:.2f} s of CPU, all {whole:.2f} s, "
                f"ratio {whole / ours:.2f}"
            )


if __name__ == "__main__":
    try:
        import av  # noqa: F401
    except ImportError:
        sys.exit("needs PyAV: pip install 'forgerystack[video]'")
    typer.run(main)
