"""Perturbations of files: those of squares, for pictures of any shape."""

import numpy as np
import pytest
import torch

from features.artifacts.perturbed import Variant
from features.settings.perturb import PerturbSection
from stage1_cnn.perturb.file_changes import FILE_CHANGES, change_file
from stage1_cnn.perturb.variants import CHANGES, list_variants, perturb_pixels

KEY = "3f" * 32
VARIANTS = [variant for variant in list_variants(PerturbSection()) if not variant.is_tier]
DIFFERENCE = 3.0
"""Grey levels, in the mean: kernels differ, and so does the noise that is drawn."""


def draw_picture(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 190, (height // 4, width // 4, 3)).repeat(4, 0).repeat(4, 1)
    return (coarse + rng.integers(-5, 6, coarse.shape)).astype(np.uint8)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_a_file_keeps_its_shape_and_changes_as_its_square_does(variant: Variant) -> None:
    picture = draw_picture(48, 64)
    found = change_file(variant, KEY, picture)
    assert (found.shape, found.dtype) == (picture.shape, np.uint8)
    np.testing.assert_array_equal(change_file(variant, KEY, picture), found)
    assert (found != picture).any()
    square = draw_picture(64, 64)
    found = change_file(variant, KEY, square).astype(float)
    wanted = perturb_pixels(torch.from_numpy(square[None]), np.array([5]), variant)[0].numpy()
    limit = 2 * variant.strength if variant.perturbation == "noise" else DIFFERENCE
    assert np.abs(found - wanted).mean() < limit
    assert np.abs(found.mean() - wanted.mean()) < 1


def test_every_perturbation_of_squares_is_one_of_files() -> None:
    assert list(FILE_CHANGES) == list(CHANGES)


def test_a_file_has_one_field_of_noise_at_every_strength() -> None:
    grey = np.full((32, 40, 3), 128, np.uint8)
    weak, strong = (
        change_file(Variant("noise", std), KEY, grey).astype(float) - 128 for std in (8.0, 16.0)
    )
    assert np.corrcoef(weak.ravel(), strong.ravel())[0, 1] > 0.99
    other = change_file(Variant("noise", 8.0), "1e" * 32, grey)
    assert (other != weak + 128).mean() > 0.5
