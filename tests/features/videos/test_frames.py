"""Which frames of a video are looked at, and what is refused."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from video_files import FPS, decode_all, draw_frames, write_video

from features.errors import ImageProblem, PictureError
from features.settings.images import Limits
from features.videos.frames import Frame, list_times, read_frames

av = pytest.importorskip("av")
LIMITS = Limits(video_frames=7)


def look(path: Path, limits: Limits = LIMITS) -> tuple[list[float], list[Frame]]:
    with open(path, "rb") as file:
        times = list_times(file, limits)
        return times, list(read_frames(file, times, limits))


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "mpeg4"), ("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4"),
     ("a.webm", "libvpx-vp9"), ("a.mov", "mpeg4")],
)  # fmt: skip
def test_frames_are_those_in_the_middle_of_equal_shares(
    tmp_path: Path, name: str, codec: str
) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    write_video(tmp_path / name, draw_frames(0, 60), codec)
    times, frames = look(tmp_path / name)
    wanted = [int((i + 0.5) * 60 / 7) for i in range(7)]
    whole = decode_all(tmp_path / name)
    assert len(whole) == 60
    for frame, place in zip(frames, wanted, strict=True):
        np.testing.assert_array_equal(frame.pixels, whole[place])
    # To the millisecond, for codecs that delay the first frame by a few.
    np.testing.assert_allclose(np.diff(times), np.diff(wanted) / FPS, atol=1e-3)


def test_all_frames_of_a_short_video_are_looked_at_once(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", draw_frames(0, 5))
    times, frames = look(tmp_path / "a.mp4")
    assert times == [0, 0.04, 0.08, 0.12, 0.16]
    assert len(frames) == 5
    assert frames[0][1:] == ("MPEG4", "yuv420p", False)


def test_groups_of_pictures_without_a_wanted_frame_are_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(tmp_path / "a.mp4", draw_frames(0, 120), "mpeg4", group=10)
    decoded = []
    decode = av.packet.Packet.decode

    class Noted:
        def __init__(self, packet: object) -> None:
            self._packet = packet

        def __getattr__(self, name: str) -> object:
            return getattr(self._packet, name)

        def decode(self) -> object:
            decoded.append(self._packet)
            return decode(self._packet)

    from features.videos import frames as module

    read = module._read_packets
    monkeypatch.setattr(module, "_read_packets", lambda *given: map(Noted, read(*given)))
    times, frames = look(tmp_path / "a.mp4", Limits(video_frames=2))
    assert (times, len(frames)) == ([1.2, 3.6], 2)
    # The group of each, and of the second until the frame was there: not 120.
    assert len(decoded) < 30


def turn_lying(content: bytes) -> bytes:
    """A file whose header says that it is to be shown turned clockwise by 90 degrees."""
    zero, one, minus, last = (n.to_bytes(4, "big") for n in (0, 1 << 16, 0xFFFF << 16, 1 << 30))
    upright = one + 3 * zero + one + 3 * zero + last
    place = content.index(upright, content.index(b"tkhd"))
    turned = zero + one + zero + minus + 4 * zero + last
    return content[:place] + turned + content[place + len(upright) :]


def test_a_video_that_was_taken_lying_is_turned_upright(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", draw_frames(0, 3))
    lying = turn_lying((tmp_path / "a.mp4").read_bytes())
    (frame,) = read_frames(io.BytesIO(lying), [0.04], LIMITS)
    assert frame.is_turned
    np.testing.assert_array_equal(frame.pixels, np.rot90(decode_all(tmp_path / "a.mp4")[1], -1))


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        (Limits(max_video_frames=20), "more frames than max_video_frames 20"),
        (Limits(max_video_seconds=0.5), "longer than max_video_seconds 0.5"),
        (Limits(max_pixels=1000), "above max_pixels 1000"),
        (Limits(min_side=100), "below min_side 100"),
    ],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])  # how many frames it has, mkv does not say
def test_what_is_beyond_the_limits_is_refused(
    tmp_path: Path, name: str, limits: Limits, problem: str
) -> None:
    write_video(tmp_path / name, draw_frames(0, 30))
    with pytest.raises(ImageProblem, match=problem):
        look(tmp_path / name, limits)


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize("content", ["no video" * 99, PLAYLIST, "ffconcat version 1.0\nfile {}\n"])
def test_what_is_no_video_is_refused_though_it_leads_to_one(tmp_path: Path, content: str) -> None:
    write_video(tmp_path / "a.mp4", draw_frames(0, 3))
    (tmp_path / "list.mp4").write_text(content.format(tmp_path / "a.mp4"))
    with pytest.raises(ImageProblem, match="no video that can be read"):
        look(tmp_path / "list.mp4")


def test_a_file_of_sound_alone_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(ImageProblem, match="no video in it"):
        look(tmp_path / "a.mp4")


def test_without_pyav_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(PictureError, match=r"forgerystack\[video\]"):
        list_times(io.BytesIO(b"x"), LIMITS)
