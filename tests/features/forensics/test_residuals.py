"""Residuals and noise: known levels come out, and a region with other noise stands out."""

import numpy as np
import pytest
from forensic_pictures import compare, enlarge, mark_middle, measure, round_pixels, take_photos
from scipy.ndimage import convolve, median_filter

from features.forensics.batch import Batch
from features.forensics.residuals import correlate_next, estimate_robust, filter_kv

KV = [[-1, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2], [2, -6, 8, -6, 2],
      [-1, 2, -2, 2, -1]]  # fmt: skip


def draw_noise(sigma: float, size: int = 256) -> np.ndarray:
    """The same noise in all channels around a middle grey."""
    grey = np.random.default_rng(0).normal(128, sigma, (1, size, size, 1))
    return round_pixels(np.repeat(grey, 3, axis=3))


def test_kv_is_the_filter_of_the_paper() -> None:
    batch = Batch(take_photos(40))
    wanted = convolve(batch.luma, np.array(KV, np.float32)[None])[:, 2:-2, 2:-2]
    np.testing.assert_allclose(-filter_kv(batch.luma_noise), wanted, atol=0.05)


@pytest.mark.parametrize("sigma", [2.0, 6.0, 15.0])
def test_the_level_of_white_noise_is_found(sigma: float) -> None:
    found = measure("noise", draw_noise(sigma))
    assert found["level"][0] == pytest.approx(np.log10(sigma), abs=0.02)
    assert found["robust level"][0] == pytest.approx(np.log10(sigma), abs=0.06)


def test_edges_hardly_move_the_robust_level() -> None:
    edges = np.kron(np.indices((16, 16)).sum(axis=0) % 2, np.ones((17, 17))) * 100
    luma = (edges + np.random.default_rng(0).normal(0, 3, edges.shape)).astype(np.float32)
    assert estimate_robust(luma[None])[0] == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize(("name", "power"), [
    ("first", 2), ("second", 6 / 4), ("third", 20 / 9), ("square", 36 / 16), ("edge", 30 / 16),
    ("kv", 596 / 144),
])  # fmt: skip
def test_residuals_of_white_noise_have_the_power_of_their_filter(name: str, power: float) -> None:
    found = measure("srm", draw_noise(8))
    assert found[f"{name} size"][0] == pytest.approx(np.log10(8 * np.sqrt(power)), abs=0.02)
    assert found[f"{name} shape"][0] == pytest.approx(np.sqrt(2 / np.pi), abs=0.01)


def test_neighbours_of_white_noise_correlate_as_their_filter_does() -> None:
    found = measure("srm", draw_noise(8))
    assert found["second neighbours"][0] == pytest.approx(-4 / 6, abs=0.02)
    assert found["square neighbours"][0] == pytest.approx(-4 / 6, abs=0.02)
    assert correlate_next(np.zeros((1, 9, 9), np.float32))[0] == 0


def test_smoothing_quietens_residuals() -> None:
    photos = take_photos()
    smooth = median_filter(photos, (1, 3, 3, 1))
    for name in ("first", "second", "third", "edge", "square", "kv"):
        assert compare("srm", f"{name} size", photos, smooth) < -0.05
        assert compare("srm", f"{name} quiet", photos, smooth) > 0.05
        assert compare("srm", f"{name} shape", photos, smooth) < 0
    assert compare("srm", "square neighbours", photos, enlarge(photos)) > 0.3


@pytest.mark.parametrize("sigma", [0.0, 10.0])
def test_a_region_of_other_noise_makes_it_inconsistent(sigma: float) -> None:
    """0: pasted without any noise; 10: with three times as much as elsewhere."""
    photos, clean = take_photos(), take_photos(grain=0)
    region = clean + np.random.default_rng(1).normal(0, sigma, clean.shape)
    spliced = np.where(mark_middle(128), round_pixels(region), photos)
    for column in ("local spread", "local range", "local beyond texture", "local clustering"):
        assert compare("noise", column, photos, spliced) > 0.02


def test_more_noise_everywhere_is_no_inconsistency() -> None:
    photos, noisy = take_photos(grain=3), take_photos(grain=9)
    assert compare("noise", "level", photos, noisy) > 0.15
    assert compare("noise", "local spread", photos, noisy) < 0


def test_noise_that_grows_with_brightness_is_seen() -> None:
    ramp = np.broadcast_to(np.linspace(30, 220, 128)[None, :, None, None], (1, 128, 128, 3))
    noise = np.random.default_rng(0).normal(0, 1, ramp.shape)
    growing = measure("noise", round_pixels(ramp + noise * ramp / 30))["brightness"]
    falling = measure("noise", round_pixels(ramp + noise * (250 - ramp) / 30))["brightness"]
    assert growing[0] > 0.8
    assert falling[0] < -0.8
