"""Where squares lie in a picture: on a grid, drawn, and beyond its border."""

import numpy as np
import pytest

from features.crops.places import centre_corners, draw_corners, list_grid, reflect


@pytest.mark.parametrize(("length", "start", "count"), [(5, -3, 12), (2, -5, 11), (1, -2, 4)])
def test_beyond_the_border_a_line_is_mirrored_as_by_numpy(length, start, count):
    after = max(0, start + count - length)
    wanted = np.pad(np.arange(length), (-start, after), mode="reflect")[:count]
    np.testing.assert_array_equal(reflect(start, count, length), wanted)


@pytest.mark.parametrize(
    ("height", "width", "most", "wanted"),
    [
        (224, 224, 9, [(0, 0)]),
        (100, 150, 9, [(-62, -37)]),  # smaller: around the centre
        (224, 448, 9, [(0, 0), (0, 224)]),
        (300, 500, 9, [(y, x) for y in (0, 76) for x in (0, 138, 276)]),
        (600, 600, 9, [(y, x) for y in (0, 188, 376) for x in (0, 188, 376)]),
        (600, 600, 1, [(188, 188)]),
        (600, 600, 4, [(y, x) for y in (51, 325) for x in (51, 325)]),  # apart as from the border
        (200, 1000, 3, [(-12, 82), (-12, 388), (-12, 694)]),
    ],
)
def test_a_grid_covers_the_picture_as_far_as_it_may(height, width, most, wanted):
    assert [tuple(corner) for corner in list_grid(height, width, 224, most).tolist()] == wanted


def test_no_grid_has_more_squares_than_asked_for_nor_one_outside():
    rng = np.random.default_rng(0)
    for height, width, most in rng.integers(1, [2000, 2000, 17], (200, 3)).tolist():
        corners = list_grid(height, width, 64, most)
        assert 1 <= len(corners) <= most
        assert len(np.unique(corners, axis=0)) == len(corners)
        for length, places in ((height, corners[:, 0]), (width, corners[:, 1])):
            inside = (places >= 0) & (places <= length - 64)
            assert inside.all() if length >= 64 else (places == (length - 64) // 2).all()


def test_drawn_squares_reach_every_border_and_no_further():
    sizes = np.array([[10, 30], [10, 30], [64, 40]], np.int32)
    uniform = np.array([[0, 0], [1 - 1e-12, 1 - 1e-12], [0.5, 0.99]])
    found = draw_corners(sizes, 10, uniform)
    assert found.tolist() == [[0, 0], [0, 20], [27, 30]]
    assert draw_corners(sizes, 40, uniform)[2].tolist() == [12, 0]
    assert centre_corners(sizes, 40).tolist() == [[-15, -5], [-15, -5], [12, 0]]
