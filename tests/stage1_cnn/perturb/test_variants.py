"""Perturbations of val pictures: what does nothing, what is the same however it is computed."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from features.artifacts.perturbed import CLEAN, Variant
from features.settings.perturb import TAKEN, PerturbSection
from stage1_cnn.perturb.variants import CHANGES, list_variants, perturb_pixels

SIDE = 40
IDS = np.array([3, 4, 90, 1 << 33])
VARIANTS = list_variants(PerturbSection())
CHANGED = [variant for variant in VARIANTS if not variant.is_tier]


def draw_pixels(count=4):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, SIDE // 4, SIDE // 4, 3)).repeat(4, 1).repeat(4, 2)
    grain = rng.normal(0, 6, (count, SIDE, SIDE, 3))
    return torch.from_numpy(np.clip(coarse + grain, 0, 255).astype(np.uint8))


def change(variant, rows=slice(None)):
    pixels = draw_pixels()[rows]
    before = pixels.clone()
    found = perturb_pixels(pixels, IDS[rows], variant)
    assert torch.equal(pixels, before)  # the others need them as they are
    return found


def measure_distance(found):
    return (found.float() - draw_pixels().float()).abs().mean()


def test_every_field_is_a_perturbation_and_the_picture_as_it_is_comes_first():
    assert set(CHANGES) == set(PerturbSection.model_fields) - {"rows", "tiers"}
    names = ["clean", "web", "hard", "jpeg 90", "jpeg 75", "jpeg 50"]
    assert [v.name for v in VARIANTS[:6]] == names
    assert TAKEN[0] == CLEAN  # no tier may have its name
    empty = dict.fromkeys(CHANGES, ()) | {"tiers": {}}
    assert list_variants(PerturbSection(**empty)) == ()
    assert list_variants(PerturbSection(**(empty | {"blur": (0.01,)})))[1:] == (
        Variant("blur", 0.01),
    )


@pytest.mark.parametrize(
    ("name", "strength"),
    [("blur", 1e-6), ("noise", 1e-6), ("rescale", 1.0), ("crop", 1.0), ("brightness", 1.0)],
)
def test_a_strength_of_nothing_changes_nothing(name, strength):
    assert torch.equal(change(Variant(name, strength)), draw_pixels())


@pytest.mark.parametrize("variant", CHANGED, ids=lambda v: v.name)
def test_a_rows_pixels_do_not_depend_on_the_batch(variant):
    whole = change(variant)
    assert whole.shape == (4, SIDE, SIDE, 3)
    assert whole.dtype == torch.uint8
    assert torch.equal(change(variant), whole)
    for rows in (slice(0, 1), slice(1, 4), [3, 1]):
        assert torch.equal(change(variant, rows), whole[rows])


@pytest.mark.parametrize(
    ("name", "strengths"),
    [
        ("jpeg", (95, 75, 40)),
        ("blur", (0.015, 0.03, 0.06)),
        ("noise", (1, 4, 16)),
        ("rescale", (0.8, 0.5, 0.2)),
        ("brightness", (0.9, 0.6, 0.3)),
        ("brightness", (1.1, 1.4, 2)),
    ],
)
def test_stronger_is_further_away(name, strengths):
    distances = [measure_distance(change(Variant(name, s))) for s in strengths]
    assert 0 < distances[0] < distances[1] < distances[2]


def test_jpeg_is_that_of_pillow():
    found = change(Variant("jpeg", 60.0))
    for square, picture in zip(found.numpy(), draw_pixels().numpy(), strict=True):
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=60, subsampling="4:2:0")
        np.testing.assert_array_equal(square, np.asarray(Image.open(buffer)))


def test_noise_is_another_for_each_row_and_has_its_strength():
    grey = torch.full((4, SIDE, SIDE, 3), 128, dtype=torch.uint8)
    noise = perturb_pixels(grey, IDS, Variant("noise", 8.0)).double().flatten(1) - 128
    assert noise.std() == pytest.approx(8, rel=0.05)
    apart = np.corrcoef(noise.numpy()) - np.eye(4)
    assert np.abs(apart).max() < 0.06
    stronger = perturb_pixels(grey, IDS, Variant("noise", 16.0)).double().flatten(1) - 128
    assert np.corrcoef(stronger[0], noise[0])[0, 1] > 0.99  # more of the same


def test_a_blur_is_as_wide_on_small_pictures_as_on_large_ones():
    for side in (50, 200):
        pixels = torch.zeros(1, side, side, 3, dtype=torch.uint8)
        pixels[:, :, side // 2 :] = 255
        line = perturb_pixels(pixels, IDS[:1], Variant("blur", 0.04))[0, 0, :, 0].numpy()
        inside = (line > 255 * 0.159) & (line < 255 * 0.841)  # one deviation either side
        assert inside.sum() == pytest.approx(0.08 * side, abs=2)


def test_a_crop_keeps_the_centre():
    pixels = torch.zeros(1, SIDE, SIDE, 3, dtype=torch.uint8)
    pixels[:, 10:30, 10:30] = 200
    assert (perturb_pixels(pixels, IDS[:1], Variant("crop", 0.5)) == 200).all()
