import numpy as np
import pytest
import torch
from pictures import make_pictures
from scipy.ndimage import gaussian_filter
from scipy.special import ndtri
from scipy.stats import kstest
from torch.nn.functional import interpolate
from torchvision.transforms.v2 import functional as reference

from stage1_cnn.augment import distortions

CPU = torch.device("cpu")


def make_planes(count=3, side=48):
    return distortions.to_planes(make_pictures(count, side))


def test_planes_turn_into_pixels_by_clamping_and_rounding():
    planes = torch.tensor([-3.0, 0.4, 0.6, 254.6, 300.0]).view(1, 1, 1, 5).repeat(1, 3, 1, 1)
    assert distortions.to_pixels(planes)[0, 0, :, 0].tolist() == [0, 0, 1, 255, 255]


def test_quarter_turns_are_those_of_numpy_row_by_row():
    images = make_pictures(4, 16)
    found = distortions.turn(images, np.array([3, 0, 1, 2]))
    for image, turned, count in zip(images.numpy(), found.numpy(), (3, 0, 1, 2), strict=True):
        np.testing.assert_array_equal(turned, np.rot90(image, count))


def test_crop_is_the_antialiased_resize_of_the_box():
    images = make_pictures(2, 64)
    found = distortions.crop(images, np.array([[3, 10, 50, 40], [0, 0, 64, 64]]), 32)
    boxes = (images[:1, 3:53, 10:50], images[1:])
    for row, box in zip(found, boxes, strict=True):
        planes = box.permute(0, 3, 1, 2).float()
        wanted = interpolate(planes, (32, 32), mode="bilinear", antialias=True).round()
        assert torch.equal(row.permute(2, 0, 1).float(), wanted[0])


@pytest.mark.parametrize("size", [32, 56, 80])
def test_crops_by_products_are_those_of_resizing(size):
    """The way of a GPU, here on a CPU."""
    rng, side = np.random.default_rng(0), 64
    images = make_pictures(12, side)
    sizes = rng.integers(1, side + 1, (12, 2))
    boxes = np.concatenate([rng.integers(0, side + 1 - sizes), sizes], axis=1)
    boxes[0] = (0, 0, side, side)
    planes = distortions._resize_boxes(distortions.to_planes(images), boxes, size)
    off = distortions.to_pixels(planes).short() - distortions.crop(images, boxes, size).short()
    assert off.abs().max() <= 1  # rounded the other way
    assert (off != 0).float().mean() < 1e-3


def test_rescaling_by_products_is_resizing_twice():
    planes, factors = make_planes(6, 64), np.array([0.01, 0.2, 0.37, 0.5, 0.93, 1.0])
    sizes = np.array([1, 13, 24, 32, 60, 64])
    found = distortions._rescale_by_products(planes, sizes)
    torch.testing.assert_close(found, distortions.rescale(planes, factors), atol=1e-3, rtol=0)


def test_the_blur_of_a_plane_does_not_depend_on_others_beside_it():
    planes, sigmas = make_planes(4, 40)[:, :1], np.array([0.4, 1.1, 2.0, 2.9])
    whole = distortions.blur(planes, sigmas, 3.0)
    for row in range(4):
        alone = distortions.blur(planes[row : row + 1], sigmas[row : row + 1], 3.0)
        assert torch.equal(alone[0], whole[row])


@pytest.mark.parametrize("place", [0, 1, 2])
def test_colour_changes_are_torchvisions(place):
    planes = make_planes(2)
    factors = np.ones((3, 2))
    factors[place] = (0.7, 1.3)
    found = distortions.change_colour(planes, *factors)
    names = ("adjust_brightness", "adjust_contrast", "adjust_saturation")
    for row, factor in enumerate((0.7, 1.3)):
        wanted = getattr(reference, names[place])(planes[row] / 255, factor) * 255
        # torchvision has 0.2989 for red where ITU-R BT.601 has 0.299.
        torch.testing.assert_close(found[row], wanted, atol=0.1, rtol=0)


def test_blur_is_scipys_gaussian_filter_with_a_width_for_each_row():
    planes, sigmas = make_planes(3), np.array([0.3, 1.1, 2.5])
    found = distortions.blur(planes, sigmas, 4.0).numpy()
    for row, sigma in enumerate(sigmas):
        for plane, blurred in zip(planes[row].numpy(), found[row], strict=True):
            wanted = gaussian_filter(plane.astype(float), sigma, mode="mirror")
            assert np.abs(blurred - wanted).max() < 0.05


def test_blur_reaches_across_pictures_smaller_than_its_radius():
    planes = torch.full((1, 3, 8, 8), 77.0)
    torch.testing.assert_close(distortions.blur(planes, np.array([9.0]), 10.0), planes)


def test_rescaling_takes_away_what_the_smaller_picture_cannot_hold():
    board = (torch.arange(64) % 2 * 255.0).expand(2, 3, 64, 64)
    slope = torch.arange(64.0).expand(2, 3, 64, 64)
    found = distortions.rescale(board, np.array([0.4, 0.98]))
    assert found[0, :, 4:-4, 4:-4].std() < 8
    assert found[1].std() > 20
    kept = distortions.rescale(slope, np.array([0.4, 0.9]))
    assert (kept - slope)[..., 4:-4].abs().max() < 0.6


def test_sharpening_adds_to_the_steps_and_leaves_flat_areas():
    step = torch.where(torch.arange(32) < 16, 100.0, 150.0).expand(1, 3, 32, 32)
    found = distortions.sharpen(step, np.array([1.0]))[0, 0, 5]
    assert found[15] < 90
    assert found[16] > 160
    assert torch.allclose(found[:8], torch.tensor(100.0), atol=1e-3)


def test_noise_is_normal_with_the_asked_deviation_and_the_same_for_the_same_key():
    planes, stds = torch.full((3, 3, 96, 96), 100.0), np.array([1.0, 10.0, 10.0])
    noise = distortions.add_noise(planes, stds, np.array([5, 2**32 - 1, 5])) - planes
    np.testing.assert_allclose(noise.std((1, 2, 3)), stds, rtol=0.02)
    np.testing.assert_allclose(noise.mean((1, 2, 3)), 0, atol=0.2)
    torch.testing.assert_close(noise[0] * 10, noise[2], atol=1e-3, rtol=0)
    assert kstest(noise[1].flatten() / 10, "norm").pvalue > 0.01


def test_noise_of_places_channels_and_keys_is_uncorrelated():
    deviates = distortions.draw_normals(np.array([1, 2, 2**31]), 3 * 64 * 64, CPU)
    planes = deviates.view(9, 64, 64)
    series = torch.stack([p.roll(s, (0, 1)).flatten() for p in planes for s in ((0, 0), (0, 1))])
    correlations = torch.corrcoef(series) - torch.eye(len(series))
    assert correlations.abs().max() < 5 / 64


def scramble(word):
    """lowbias32, in whole numbers of any size."""
    word ^= word >> 16
    word = word * 0x7FEB352D & 0xFFFFFFFF
    word ^= word >> 15
    word = word * 0x846CA68B & 0xFFFFFFFF
    return word ^ word >> 16


@pytest.mark.parametrize("key", [0, 123, 2**31, 2**32 - 1])
def test_noise_is_an_integer_hash_and_so_the_same_on_every_machine(key):
    words = [scramble(scramble(place) ^ key) for place in range(50)]
    halves = np.array([(word & 0xFFFF, word >> 16) for word in words]).ravel()
    expected = ndtri((halves + 0.5) / 2**16).astype(np.float32)[:99]
    found = distortions.draw_normals(np.array([key]), 99, CPU)
    np.testing.assert_array_equal(found[0].numpy(), expected)


def test_cut_out_turns_exactly_the_box_grey():
    images = make_pictures(2, 32)
    found = distortions.cut_out(images, np.array([[2, 3, 10, 20], [0, 0, 32, 1]]))
    expected = images.clone()
    expected[0, 2:12, 3:23] = 128
    expected[1, :, :1] = 128
    assert torch.equal(found, expected)
