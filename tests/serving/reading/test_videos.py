"""A video is one row: the mean of its frames, read as a unit where there are rules of units."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from video_files import draw_frames, write_video

from features.errors import ImageProblem, PictureError
from features.pixels.decoding import decode_square
from features.pixels.reading import read_content
from features.prepare.video_rows import list_frames
from features.settings.data import Data
from serving import Ensemble
from serving.format.facts import Sight
from serving.reading.pictures import GivenPicture
from serving.reading.sources import open_sources


def make_frames(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (64, 96, 3), np.uint8) for _ in range(count)]


def list_sights(ensemble: Ensemble) -> list[Sight]:
    return ensemble.scorer.list_sights()


def test_the_score_of_a_video_is_the_mean_of_its_frames(ensemble: Ensemble) -> None:
    frames = make_frames(5)
    given = GivenPicture("clip", lambda: iter(frames), is_unit=True)
    (row, after) = ensemble.label_batch([given, GivenPicture("x", lambda: frames[0])], True)
    singles = ensemble.label(frames)
    stage = ensemble.scorer.second_stage
    read = ensemble.reader.read(given._replace(load=lambda: iter(frames)), list_sights(ensemble))
    mean = ensemble.score_rows(read.rows).log_odds.mean(keepdims=True)
    assert row.log_odds == pytest.approx(stage.rules.read(stage.shipped, mean)[0])
    assert after.log_odds == pytest.approx(singles[0].log_odds)
    assert row.members.keys() == {"noise-0", "small-0"}


def test_rules_of_units_read_videos_where_there_are_any(
    ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = make_frames(3)
    stage = ensemble.scorer.second_stage
    always = {
        name: replace(rule, threshold=replace(rule.threshold, value=-1e9))
        for name, rule in stage.rules.scorers.items()
    }
    units = replace(stage, unit_rules=replace(stage.rules, scorers=always))
    never = {
        name: replace(rule, threshold=replace(rule.threshold, value=1e9))
        for name, rule in stage.rules.scorers.items()
    }
    monkeypatch.setattr(
        ensemble.scorer, "second_stage", replace(units, rules=replace(stage.rules, scorers=never))
    )
    clip = GivenPicture("clip", lambda: iter(frames), is_unit=True)
    picture = GivenPicture("picture", lambda: frames[0])
    assert [row.label for row in ensemble.label_batch([clip, picture])] == ["fake", "real"]


def test_a_video_without_frames_keeps_its_row(ensemble: Ensemble) -> None:
    (row,) = ensemble.label_batch([GivenPicture("clip", lambda: iter(()), is_unit=True)])
    assert row.status == "no frames"


def test_without_pyav_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "av", None)
    (source,) = open_sources([str(tmp_path / "clip.mp4")])
    with pytest.raises(PictureError, match=r"forgerystack\[video\]"):
        source.list_names()


@pytest.mark.parametrize(("count", "looked_at"), [(160, 16), (5, 5)])
def test_frames_come_from_all_over_a_video(
    ensemble: Ensemble, tmp_path: Path, count: int, looked_at: int
) -> None:
    """The very frames, and so the very squares, that `prepare` takes."""
    write_video(tmp_path / "clip.mp4", draw_frames(0, count))
    (source,) = open_sources([str(tmp_path / "clip.mp4")])
    (whole,) = sights = list_sights(ensemble)
    squares = ensemble.reader.read(next(source.open()), sights).rows.by_sight[whole].pixels
    rows = pd.DataFrame({"img_name": ["clip.mp4"], "path": ["clip.mp4"], "unit": [""]})
    listed = list_frames(rows, Data(root=str(tmp_path)))
    assert len(squares) == len(listed) == looked_at
    images = ensemble.facts.pixels.build_images(str(tmp_path))
    for square, path in zip(squares, listed["path"], strict=True):
        content = read_content(tmp_path, path).data
        np.testing.assert_array_equal(square, decode_square(content, images))


def test_a_damaged_video_has_a_problem(ensemble: Ensemble, tmp_path: Path) -> None:
    pytest.importorskip("av")
    (tmp_path / "clip.mp4").write_bytes(b"no video at all" * 99)
    (source,) = open_sources([str(tmp_path / "clip.mp4")])
    with pytest.raises(ImageProblem, match="no video that can be read"):
        ensemble.reader.read(next(source.open()), list_sights(ensemble))
