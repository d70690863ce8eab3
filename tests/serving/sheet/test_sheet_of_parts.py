"""The sheet of a picture with faces, by networks that see squares, fitted pictures and crops."""

from pathlib import Path

import numpy as np
import pytest
from parts_project import FACE
from PIL import Image

from features.faces.crops import PicturePart
from serving import Ensemble
from serving.reading.pictures import name_picture
from serving.sheet.covering import GRID, WHOLE, cover_places
from serving.sheet.facts import SheetFacts, gather_facts
from serving.sheet.page import render_sheet
from serving.sheet.pictures import encode_picture


@pytest.fixture
def sheet(parts_ensemble: Ensemble, parts_pictures: list[Path]) -> SheetFacts:
    return gather_facts(parts_ensemble, parts_pictures[8].read_bytes(), "two.png")


def test_the_sheet_tells_which_parts_were_looked_at(
    parts_ensemble: Ensemble, parts_pictures: list[Path], sheet: SheetFacts
) -> None:
    assert sheet.faces is not None
    assert (len(sheet.faces), len(sheet.parts), sheet.row.faces) == (2, 3, 2)
    [row] = parts_ensemble.label([parts_pictures[8]])
    assert sheet.row.log_odds == pytest.approx(row.log_odds, abs=1e-6)
    read = parts_ensemble.reader.read(
        name_picture(parts_pictures[8], 0), parts_ensemble.scorer.list_sights()
    )
    assert sheet.loudest == parts_ensemble.score_rows(read.rows).log_odds.argmax()
    text = " ".join(render_sheet(sheet).split())
    assert "2 faces were found and framed. Looked at: the whole picture and the squares" in text
    assert "The score is the mean of log-odds, of all of these." in text
    assert "is what speaks loudest for fake: " in text
    plain = gather_facts(parts_ensemble, parts_pictures[0].read_bytes(), "none.png")
    text = " ".join(render_sheet(plain).split())
    assert "No face was found. Looked at: the whole picture." in text
    assert "speaks loudest for fake: " not in text


def test_faces_are_framed_where_they_are(sheet: SheetFacts) -> None:
    assert sheet.faces is not None
    height, width = sheet.pixels.shape[:2]
    lefts = sorted(round(frame.left * width) for frame in sheet.faces)
    assert lefts == [4, 34]
    assert {round(frame.height * height) for frame in sheet.faces} == {FACE}
    assert encode_picture(sheet.pixels) != encode_picture(sheet.pixels, frames=sheet.faces)


def test_a_covered_place_is_the_same_in_all_that_networks_see(
    parts_ensemble: Ensemble, parts_pictures: list[Path]
) -> None:
    pixels = np.asarray(Image.open(parts_pictures[0]))
    sights = parts_ensemble.scorer.list_sights()
    canvases = parts_ensemble.reader.draw_part(pixels, PicturePart(None, None), sights)
    covered = cover_places(canvases)
    place = (3, 6)
    row = covered.take(np.array([1 + place[0] * GRID + place[1]]))
    for sight, canvas in canvases.items():
        height, width = canvas.pixels.shape[:2]
        grey = canvas.pixels.copy()
        (top, bottom), (left, right) = (
            (round(place[i] * side / GRID), round((place[i] + 1) * side / GRID))
            for i, side in enumerate((height, width))
        )
        grey[top:bottom, left:right] = 127
        own = row.by_sight[sight]
        np.testing.assert_array_equal(own.pixels[own.places], canvas._replace(pixels=grey).cut())
        if len(canvas.corners) > 1:
            # Of three crops most places are in one.
            assert len(covered.by_sight[sight].pixels) < 2 * (1 + GRID * GRID)


def test_the_crop_that_speaks_loudest_is_framed(
    parts_ensemble: Ensemble, parts_pictures: list[Path], sheet: SheetFacts
) -> None:
    plain = gather_facts(parts_ensemble, parts_pictures[0].read_bytes(), "none.png")
    frames = {cover_map.scorer: cover_map.loudest for cover_map in plain.maps}
    assert frames.pop("crops") is not None
    assert set(frames) == {WHOLE, "whole", "fitted"}
    assert not any(frames.values())
    assert "framed: the square that speaks loudest for fake" in render_sheet(plain)
