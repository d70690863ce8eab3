import numpy as np
import pytest
import torch
from small_task import make_settings
from torchvision.transforms import v2

from features.settings.learning import Network
from stage1_cnn.networks.network import build_network
from stage1_cnn.networks.normalise import Normaliser, build_normaliser, extract_noise

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


@pytest.mark.parametrize("size", [32, 16])
@pytest.mark.parametrize("kind", ["rgb", "srm", "rgb+srm"])
def test_arrays_and_tensors_give_the_same_and_stay_as_they_are(kind, size):
    pixels = make_pixels()
    normalise = Normaliser(MEAN, STD, size, CPU, kind)
    floats = torch.from_numpy(pixels).float()
    strided = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    found = normalise(pixels)
    for images in (torch.from_numpy(pixels), floats, strided):
        assert torch.equal(normalise(images), found)
    assert np.array_equal(pixels, make_pixels())
    assert np.array_equal(floats.numpy(), make_pixels())
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [32, 16])
def test_noise_comes_after_the_colours_and_from_pixels_as_they_are(size):
    pixels = make_pixels()
    both = Normaliser(MEAN, STD, size, CPU, "rgb+srm")(pixels)
    assert torch.equal(both[:, :3], Normaliser(MEAN, STD, size, CPU)(pixels))
    resized = Normaliser((0, 0, 0), (1, 1, 1), size, CPU)(pixels) * 255
    torch.testing.assert_close(both[:, 3:], extract_noise(resized), atol=1e-4, rtol=0)
    assert torch.equal(both[:, 3:], Normaliser(MEAN, STD, size, CPU, "srm")(pixels))


def test_statistics_are_the_networks_own_for_six_channels_too():
    settings = make_settings(model="tf_efficientnet_lite0", network=Network(input="rgb+srm"))
    with torch.device("meta"):
        network = build_network(settings)
    expected = Normaliser((0.5,) * 3, (0.5,) * 3, settings.image_size, CPU, "rgb+srm")
    assert build_normaliser(network, settings, CPU) == expected
