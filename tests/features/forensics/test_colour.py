"""Colours: known correlations come out, and what demosaicing and filters do to them."""

import numpy as np
import pytest
from forensic_pictures import compare, measure, round_pixels, save_jpeg, take_photos

from features.forensics.batch import Batch
from features.forensics.colour import compute_covariance


def draw_channels(shared: float, seed: int = 0) -> np.ndarray:
    """Noise of which the channels share this part of the variance."""
    rng = np.random.default_rng(seed)
    own, common = rng.normal(0, 1, (1, 96, 96, 3)), rng.normal(0, 1, (1, 96, 96, 1))
    return round_pixels(128 + 25 * (np.sqrt(1 - shared) * own + np.sqrt(shared) * common))


@pytest.mark.parametrize("shared", [0.0, 0.4, 0.9])
def test_correlations_are_those_of_the_channels(shared: float) -> None:
    found = measure("colour", draw_channels(shared))
    for pair in ("red-green", "green-blue", "red-blue"):
        assert found[pair][0] == pytest.approx(shared, abs=0.03)
        assert found[f"{pair} noise"][0] == pytest.approx(shared, abs=0.03)


def test_covariances_are_numpys() -> None:
    planes = Batch(take_photos(32)).planes
    wanted = [np.cov(p.reshape(3, -1).astype(np.float64), bias=True) for p in planes]
    np.testing.assert_allclose(compute_covariance(planes), wanted, rtol=1e-4)


def test_a_picture_without_colour() -> None:
    grey = np.repeat(take_photos()[..., :1], 3, axis=3)
    found = measure("colour", grey)
    for pair in ("red-green", "green-blue", "red-blue"):
        assert found[pair] == pytest.approx(1, abs=1e-3)
        assert found[f"{pair} noise"] == pytest.approx(1, abs=1e-3)
    assert (found["chroma"] < -2.9).all()
    assert (found["mean saturation"] == 0).all()


def test_subsampling_takes_the_noise_out_of_the_colours() -> None:
    photos = take_photos()
    saved = save_jpeg(photos, 90, subsampling=2)
    assert compare("colour", "chroma noise", photos, saved) < -0.3
    assert compare("colour", "red-blue noise", photos, saved) > 0.2
    assert abs(compare("colour", "chroma", photos, saved)) < 0.05


def test_interpolated_green_is_a_chessboard() -> None:
    """Green of a Bayer mosaic: every other pixel is the mean of its four neighbours."""
    photos = take_photos()
    mosaic = photos.astype(np.float64)
    green = mosaic[..., 1]
    means = sum(np.roll(green, step, axis) for step in (-1, 1) for axis in (1, 2)) / 4
    is_missing = np.indices(green.shape[1:]).sum(axis=0) % 2 == 1
    mosaic[..., 1] = np.where(is_missing, means, green)
    assert compare("colour", "mosaic", photos, round_pixels(mosaic)) > 0.1
    assert measure("colour", photos)["mosaic"].max() < 0.1


def test_exposure_and_saturation_are_shares() -> None:
    picture = np.full((1, 64, 64, 3), 128, np.uint8)
    picture[:, :16] = 3
    picture[:, 16:24, :, 0] = 252
    found = measure("colour", picture)
    assert found["dark"][0] == 0.25
    assert found["bright"][0] == 0.125
    assert found["mean saturation"][0] == pytest.approx(0.125 * 124 / 252)
