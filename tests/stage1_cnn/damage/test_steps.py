"""Single steps of the web's damage: what each does to a picture, and that it stays one."""

import io

import numpy as np
import pytest
from pictures import make_pictures
from PIL import Image

from stage1_cnn.damage import steps
from stage1_cnn.damage.steps import Kernel


def draw_picture(height=60, width=90):
    picture = make_pictures(1, max(height, width))[0].numpy()
    return np.ascontiguousarray(picture[:height, :width])


@pytest.mark.parametrize("chroma", ["4:4:4", "4:2:2", "4:2:0"])
def test_jpeg_is_what_a_file_of_pillow_gives_back(chroma):
    picture, file = draw_picture(), io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=40, subsampling=chroma)
    np.testing.assert_array_equal(steps.save_jpeg(picture, 40, chroma), np.array(Image.open(file)))


@pytest.mark.parametrize("save", [steps.save_jpeg, steps.save_webp])
def test_a_lower_quality_is_further_away(save):
    picture = draw_picture()
    distances = [np.abs(save(picture, q).astype(int) - picture).mean() for q in (95, 60, 20)]
    assert 0 < distances[0] < distances[1] < distances[2]


def test_a_picture_that_no_webp_can_hold_stays_as_it_is():
    long = np.zeros((16, steps.LARGEST_WEBP + 1, 3), np.uint8)
    assert steps.save_webp(long, 50) is long


@pytest.mark.parametrize(("side", "wanted"), [(45, (30, 45)), (90, (60, 90)), (768, (60, 90))])
def test_the_longest_side_is_limited_and_the_aspect_kept(side, wanted):
    assert steps.limit_side(draw_picture(), side).shape[:2] == wanted


def test_nothing_gets_smaller_than_can_be_looked_at():
    assert steps.resize_picture(draw_picture(20, 200), 0.1, Kernel.BOX).shape == (16, 20, 3)


def test_noise_has_the_deviation_and_follows_its_generator():
    grey = np.full((100, 100, 3), 128, np.uint8)
    noisy = [steps.add_grain(grey, 8.0, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert (noisy[0].astype(int) - 128).std() == pytest.approx(8, rel=0.05)
    np.testing.assert_array_equal(noisy[0], noisy[1])
    assert (noisy[0] != noisy[2]).mean() > 0.9


def test_a_frame_lies_around_the_whole_picture():
    picture = draw_picture()
    framed = steps.frame(picture, (10, 3, 0, 5), 18, 4)
    assert framed.shape == (70, 98, 3)
    np.testing.assert_array_equal(framed[10:, 5:95], picture)
    assert (framed[:4] == 237).all()
    assert (framed[4:10] == 18).all()
