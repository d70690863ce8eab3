import pytest
import torch

from stage1_cnn.networks.normalise import SPREAD, TRUNCATION, extract_noise


def inside(maps):
    """Without the border, where mirroring bends a gradient."""
    return maps[..., 2:-2, 2:-2] * SPREAD


def test_constant_pictures_have_no_noise():
    images = torch.tensor([255.0, 0.0, 17.0]).view(1, 3, 1, 1).expand(2, 3, 16, 12).contiguous()
    assert torch.equal(extract_noise(images), torch.zeros(2, 3, 16, 12))


def test_linear_gradients_have_no_noise():
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    images = torch.stack([3 * rows, 5 * columns, 2 * rows + columns])[None]
    assert inside(extract_noise(images)).abs().max() < 1e-5


def test_an_impulse_shows_the_published_filters():
    images = torch.zeros(1, 3, 9, 9)
    images[..., 4, 4] = 1.0  # the same in all colours: their mean is the residual of one
    square, kv, line = extract_noise(images)[0, :, 2:7, 2:7] * SPREAD
    outer = torch.tensor([[-1, 2, -2, 2, -1], [2, -6, 8, -6, 2]]) / 12
    torch.testing.assert_close(kv[:2], outer)
    torch.testing.assert_close(kv, kv.flip(0))
    assert kv[2, 2].item() == pytest.approx(-1)
    expected = torch.tensor([[-1.0, 2, -1], [2, -4, 2], [-1, 2, -1]]) / 4
    torch.testing.assert_close(square[1:4, 1:4], expected)
    torch.testing.assert_close(line[2], torch.tensor([0.0, 1, -2, 1, 0]) / 2)
    assert square[0].count_nonzero() == line[:2].count_nonzero() == 0


def test_the_mean_over_the_colours_counts():
    images = torch.zeros(1, 3, 9, 9)
    images[:, 1, 4, 4] = 3.0
    same = torch.zeros(1, 3, 9, 9)
    same[:, :, 4, 4] = 1.0
    torch.testing.assert_close(extract_noise(images), extract_noise(same))


def test_edges_are_cut_off():
    images = torch.zeros(1, 3, 16, 16)
    images[..., 8:] = 255
    maps = extract_noise(images)
    assert maps.abs().max().item() == pytest.approx(TRUNCATION / SPREAD)


def test_noise_of_about_a_grey_level_has_about_unit_variance():
    generator = torch.Generator().manual_seed(0)
    grain = torch.randn(4, 1, 64, 64, generator=generator).mul(1.3)
    maps = extract_noise((128 + grain).expand(4, 3, 64, 64).round())
    assert maps.std(dim=(0, 2, 3)).sub(1).abs().max() < 0.35
    assert not maps.requires_grad


def test_half_precision_around_it_changes_nothing():
    images = torch.rand(2, 3, 16, 16).mul(255)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(extract_noise(images), extract_noise(images.clone()))
        assert extract_noise(images).dtype == torch.float32
    expected = extract_noise(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(extract_noise(images), expected)
