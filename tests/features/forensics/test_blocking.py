"""The block grid of JPEG: its strength, its place, its period, and where it is broken."""

import numpy as np
import pytest
from forensic_pictures import compare, mark_middle, measure, resize, save_jpeg, take_photos

from features.forensics.blocking import fold_profile


def test_saving_at_low_quality_leaves_a_grid() -> None:
    photos = take_photos()
    changes = [compare("blocking", "grid", photos, save_jpeg(photos, q)) for q in (80, 50, 30)]
    assert changes[2] > 0.4
    assert changes == sorted(changes)
    assert abs(measure("blocking", photos)["grid"]).max() < 0.2


def test_a_crop_shifts_the_grid() -> None:
    saved = save_jpeg(take_photos(136), 30)
    straight, shifted = saved[:, :128, :128], saved[:, 3:131, 5:133]
    assert compare("blocking", "grid", shifted, straight) > 0.4
    assert abs(compare("blocking", "shifted grid", shifted, straight)) < 0.15
    assert compare("blocking", "shifted grid", take_photos(), shifted) > 0.3


def test_half_the_size_makes_a_grid_of_4() -> None:
    large = take_photos(192)
    plain, saved = resize(large, 96), resize(save_jpeg(large, 20), 96)
    assert compare("blocking", "grid of 4", plain, saved) > 0.05


def test_doubled_pixels_make_a_grid_of_2() -> None:
    photos = take_photos()
    doubled = np.repeat(np.repeat(photos[:, ::2, ::2], 2, axis=1), 2, axis=2)
    assert compare("blocking", "grid of 2", photos, doubled) > 0.3
    assert compare("blocking", "period", photos, doubled) > 0.5


@pytest.mark.parametrize("factor", [1.25, 1.6])
def test_enlarging_by_any_factor_adds_a_period(factor: float) -> None:
    photos = take_photos()
    enlarged = resize(photos, round(128 * factor))[:, :128, :128]
    assert compare("blocking", "period", photos, enlarged) > 0.2


def test_a_paste_breaks_the_grid() -> None:
    photos = take_photos()
    saved = save_jpeg(photos, 30)
    assert compare(
        "blocking", "grid spread", saved, np.where(mark_middle(128), photos, saved)
    ) > 0.05  # fmt: skip


def test_noise_crosses_zero_more_often_than_shading() -> None:
    assert compare("blocking", "zero crossings", take_photos(grain=0), take_photos(grain=6)) > 0.1


def test_places_are_folded_from_the_first_pixel() -> None:
    profile = np.arange(15, dtype=np.float32)[None]
    np.testing.assert_array_equal(fold_profile(profile, 4)[0], [4, 5, 6, 7])
    np.testing.assert_array_equal(fold_profile(profile, 8)[0], np.arange(8))
