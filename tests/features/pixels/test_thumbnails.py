import numpy as np
import pytest

from features.pixels.thumbnails import shrink_grey

LUMINANCE = np.array([0.299, 0.587, 0.114])


@pytest.mark.parametrize("size", [64, 128, 256, 1024])
def test_grey_is_the_luminance_of_the_means_of_whole_boxes(size):
    square = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    ratio = size // 64
    means = square.reshape(64, ratio, 64, ratio, 3).mean(axis=(1, 3)) @ LUMINANCE
    assert np.abs(shrink_grey(square) - means).max() <= 0.96  # half a level, and weights of 256ths


@pytest.mark.parametrize("size", [48, 96, 2048])
@pytest.mark.parametrize("level", [0, 1, 127, 254, 255])
def test_a_picture_of_one_grey_keeps_its_level_at_any_size(size, level):
    square = np.full((size, size, 3), level, np.uint8)
    assert (shrink_grey(square) == level).all()
    assert (shrink_grey(square[:, ::-1]) == level).all()
