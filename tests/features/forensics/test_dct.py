"""Block cosine transforms: JPEG's own, and the marks that saving leaves in them."""

import numpy as np
import pytest
from forensic_pictures import compare, enlarge, measure, save_jpeg, take_photos

from features.forensics.batch import Batch
from features.forensics.dct import (
    compare_first_digits,
    find_coefficients,
    find_comb,
    transform_blocks,
)


def test_blocks_are_transformed_as_jpeg_does() -> None:
    luma = Batch(take_photos(20)).luma
    found = transform_blocks(luma)
    assert found.shape == (4, 64, 4)
    waves = np.cos(np.pi * np.outer(np.arange(8), 2 * np.arange(8) + 1) / 16) / 2
    waves[0] /= np.sqrt(2)
    block = luma[2, 8:16, :8] - 128  # the third: second row, first column
    wanted = waves @ block @ waves.T
    np.testing.assert_allclose(found[2, :, 2].reshape(8, 8), wanted, atol=1e-2)


def test_coefficients_are_chosen_by_the_sum_of_their_indices() -> None:
    assert find_coefficients(1, 1).tolist() == [1, 8]
    assert len(find_coefficients(1, 14)) == 63


def test_saving_at_low_quality_empties_the_fine_coefficients() -> None:
    photos = take_photos()
    saved = save_jpeg(photos, 30)
    for name in ("middle", "high"):
        assert compare("dct", f"zeros {name}", photos, saved) > 0.3
    assert compare("dct", "band 11-14", photos, saved) < -1
    assert compare("dct", "shape high", photos, saved) < -0.05


def test_an_enlarged_picture_has_less_in_the_fine_bands() -> None:
    photos = take_photos()
    changes = [
        compare("dct", f"band {name}", photos, enlarge(photos)) for name in ("1", "7-8", "11-14")
    ]
    assert changes[0] > 0 > changes[1] > changes[2]


@pytest.mark.parametrize("quality", [50, 75])
def test_steps_of_an_earlier_saving_are_a_comb(quality: int) -> None:
    photos = take_photos()
    assert compare("dct", "comb", photos, save_jpeg(photos, quality)) > 0.1
    assert compare("dct", "first digits", photos, save_jpeg(photos, quality)) > 0.01


def test_a_shifted_grid_shows_no_comb() -> None:
    photos = take_photos(136)
    saved = save_jpeg(photos, 60)
    straight, shifted = saved[:, :128, :128], saved[:, 3:131, 5:133]
    assert compare("dct", "comb", shifted, straight) > 0.1


def test_a_comb_is_told_from_an_even_histogram() -> None:
    rng = np.random.default_rng(0)
    even = rng.normal(0, 20, (1, 9, 1000)).astype(np.float32)
    comb = np.rint(even / 7) * 7
    assert find_comb(comb)[0] > find_comb(even)[0] + 0.4


def test_first_digits_of_benfords_law_are_no_distance() -> None:
    sizes = np.floor(10 ** np.random.default_rng(0).uniform(0, 3, (1, 1, 200_000)))
    assert compare_first_digits(sizes.astype(np.int32))[0] < 1e-3
    assert compare_first_digits(np.zeros((1, 1, 50), np.int32))[0] == 0
    assert compare_first_digits(np.full((1, 1, 50), 7, np.int32))[0] > 5


def test_shapes_are_those_of_known_distributions() -> None:
    rng = np.random.default_rng(0)
    noise = np.clip(rng.normal(128, 15, (1, 256, 256, 1)), 0, 255)
    found = measure("dct", np.repeat(noise, 3, axis=3).astype(np.uint8))
    assert found["shape high"][0] == pytest.approx(np.sqrt(2 / np.pi), abs=0.01)
