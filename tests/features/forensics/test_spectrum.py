"""The spectrum: what resizing, blurring and repeating patterns do to it."""

import numpy as np
import pytest
from forensic_pictures import compare, enlarge, mark_middle, measure, round_pixels, take_photos
from PIL import Image, ImageFilter

from features.forensics.spectrum import RINGS, average_power, compute_spectrum, fit_line


def test_white_noise_is_flat_and_has_its_variance() -> None:
    noise = np.random.default_rng(0).normal(0, 5, (4, 128, 128)).astype(np.float32)
    means = average_power(compute_spectrum(noise))
    np.testing.assert_allclose(means[:, 1:RINGS].mean(axis=0), 25, rtol=0.1)


@pytest.mark.parametrize(("cycles", "ring"), [(0.1, 2), (0.25, 5), (0.4, 8)])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_wave_lies_in_its_ring(cycles: float, ring: int, axis: int) -> None:
    wave = 128 + 60 * np.sin(2 * np.pi * cycles * np.indices((100, 100))[axis])
    found = measure("spectrum", round_pixels(np.repeat(wave[None, :, :, None], 3, axis=3)))
    rings = [float(found[f"ring {i:02d}"][0]) for i in range(1, RINGS + 1)]
    assert int(np.argmax(rings)) + 1 == ring
    assert (found["direction"][0] > 0) == (axis == 1) or cycles < 0.25


def test_an_enlarged_picture_lacks_fine_detail() -> None:
    photos = take_photos()
    for column in ("high ratio", "slope", "ring 09", "ring 10"):
        assert compare("spectrum", column, photos, enlarge(photos)) < -0.3
    assert compare("spectrum", "ring 01", photos, enlarge(photos)) > 0


def test_slope_is_that_of_a_power_law() -> None:
    law = -2 * np.log10(np.arange(1, 10))
    slope, curve = fit_line(np.stack([law, law + 1]))
    np.testing.assert_allclose(slope, -2)
    np.testing.assert_allclose(curve, 0, atol=1e-12)


@pytest.mark.parametrize(("step", "column"), [(2, "checkerboard"), (4, "period 4")])
def test_a_pattern_of_an_upsampling_is_a_peak(step: int, column: str) -> None:
    photos = take_photos()
    line = np.cos(2 * np.pi * np.arange(128) / step)
    marked = round_pixels(photos + 6 * np.outer(line, line)[..., None])
    assert compare("spectrum", column, photos, marked) > 0.3
    other = "period 4" if step == 2 else "checkerboard"
    assert compare("spectrum", column, photos, marked) > compare("spectrum", other, photos, marked)


def test_a_blurred_region_is_a_local_difference() -> None:
    photos = take_photos()
    blurred = np.stack(
        [np.asarray(Image.fromarray(p).filter(ImageFilter.GaussianBlur(1.5))) for p in photos]
    )
    mixed = np.where(mark_middle(128), blurred, photos)
    assert compare("spectrum", "local spread", photos, mixed) > 0.2
    assert compare("spectrum", "local spread", photos, mixed) > compare(
        "spectrum", "local spread", photos, blurred
    )
    assert compare("spectrum", "local clustering", photos, mixed) > 0.1
