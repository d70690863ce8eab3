import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from features.train_params import Augment
from stage1_cnn.batches import Normaliser, draw_flips, flip_images

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CPU = torch.device("cpu")


def make_pixels(n=6, size=32):
    return np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def test_batch_is_normalised_as_torchvision_does_image_by_image():
    pixels = make_pixels()
    chain = v2.Compose(
        [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(MEAN), list(STD))]
    )
    expected = torch.stack([chain(image) for image in pixels])
    found = Normaliser(MEAN, STD, 32, CPU)(pixels)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_smaller_networks_get_an_antialiased_resize():
    pixels = np.zeros((1, 32, 32, 3), np.uint8)
    pixels[:, ::2] = 255  # lines of one pixel turn into even grey only if antialiased
    found = Normaliser((0, 0, 0), (1, 1, 1), 16, CPU)(pixels)
    assert found.shape == (1, 3, 16, 16)
    assert found[0, 0, 2:-2].std() < 0.05


def flip(pixels, augment, seed, step):
    images = torch.from_numpy(pixels)
    flip_images(images, draw_flips(augment, len(pixels), seed, step))
    return images.numpy()


def test_flips_are_a_pure_function_of_seed_and_step_and_keep_whole_images():
    augment = Augment(hflip=0.5, vflip=0.5)
    first = flip(make_pixels(), augment, seed=1, step=7)
    np.testing.assert_array_equal(first, flip(make_pixels(), augment, seed=1, step=7))
    assert not np.array_equal(first, flip(make_pixels(), augment, seed=1, step=8))
    for image, flipped in zip(make_pixels(), first, strict=True):
        options = (image, image[:, ::-1], image[::-1], image[::-1, ::-1])
        assert any(np.array_equal(flipped, option) for option in options)


def test_a_flipped_batch_is_the_normalised_batch_of_flipped_images():
    flips = np.array(
        [[True, False, True, False, False, True], [False, True, True, False, True, False]]
    )
    pixels = make_pixels()
    flipped = pixels.copy()
    flip_images(torch.from_numpy(flipped), flips)
    normalise = Normaliser(MEAN, STD, 32, CPU)
    assert torch.equal(normalise(pixels, flips), normalise(flipped))


@pytest.mark.parametrize("chance", [0.0, 0.3, 1.0])
def test_share_of_flipped_images_is_the_chance(chance):
    pixels = np.zeros((4000, 2, 2, 3), np.uint8)
    pixels[:, :, 0] = 1
    flipped = flip(pixels, Augment(hflip=chance, vflip=0.0), seed=0, step=0)
    assert flipped[:, 0, 1, 0].mean() == pytest.approx(chance, abs=0.03)
