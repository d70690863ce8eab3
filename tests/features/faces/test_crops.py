"""Square crops around faces."""

import numpy as np
import pytest

from features.faces.crops import choose_crops, choose_parts, write_shares
from features.settings.images import Faces
from features.videos.addresses import Box

LARGE, SMALL, TINY = [100, 50, 60, 80, 0.9], [10, 20, 30, 20, 0.8], [5, 5, 9, 12, 0.9]


def choose(*faces: list[float], width: int = 400, height: int = 300, **how: object) -> list[Box]:
    found = np.array(faces, np.float32).reshape(-1, 5)
    settings = Faces.model_validate({"faces": "crop", **how})
    return [crop.box for crop in choose_crops(found, width, height, settings)]


@pytest.mark.parametrize(
    ("margin", "box"), [(0.0, Box(90, 50, 80, 80)), (0.25, Box(70, 30, 120, 120))]
)
def test_a_crop_is_a_square_with_a_margin(margin: float, box: Box) -> None:
    assert choose(LARGE, SMALL, face_margin=margin) == [box]


def test_all_faces_but_tiny_ones_have_a_crop() -> None:
    assert len(choose(LARGE, SMALL, TINY, face_count="all")) == 2
    assert choose(TINY) == []
    assert choose() == []


def test_a_crop_lies_within_the_picture() -> None:
    assert choose([0, 0, 40, 60, 1], face_margin=0.5) == [Box(0, 0, 120, 120)]
    assert choose([380, 250, 30, 60, 1], face_margin=0.5) == [Box(280, 180, 120, 120)]
    assert choose([0, 50, 200, 200, 1], width=220, face_margin=1.0) == [Box(0, 40, 220, 220)]


def test_crops_stand_in_place_of_the_picture_or_after_it() -> None:
    found = np.array([LARGE, SMALL], np.float32)
    crops = choose(LARGE, SMALL, face_count="all")
    for faces, wanted in (("crop", crops), ("both", [None, *crops])):
        how = Faces.model_validate({"faces": faces, "face_count": "all"})
        parts = choose_parts(found, 400, 300, how)
        assert [part.box for part in parts] == wanted
        assert parts[0].face is not None
        np.testing.assert_array_equal(parts[0].face, LARGE[:4])
        assert choose_parts(found[:0], 400, 300, how) == [(None, None)]


def test_a_face_is_told_in_shares_of_what_is_shown() -> None:
    face = np.array([100, 50, 60, 80], np.float32)
    assert write_shares(face, Box(0, 0, 400, 200)) == "0.25,0.25,0.15,0.4"
    assert write_shares(face, Box(90, 50, 80, 80)) == "0.125,0,0.75,1"
