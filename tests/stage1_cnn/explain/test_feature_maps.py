"""Feature maps of made and real networks: found in any layout, weighed for the right class."""

import numpy as np
import pytest
import timm
import torch
from captum.attr import LayerGradCam
from small_task import make_settings
from torch import nn
from torch.nn.functional import avg_pool2d, binary_cross_entropy_with_logits

from features.settings.learning import Network
from stage1_cnn.explain.feature_maps import MappedNetwork, split_maps
from stage1_cnn.explain.run import scale_maps
from stage1_cnn.networks.network import build_network, embed

CORNERS = [(0, 0), (0, 1), (1, 0), (1, 1)]
REAL, FAKE = 0, 1


class MadeNetwork(nn.Module):
    """Red speaks for fake and blue for real, by the mean over 4 × 4 places."""

    def __init__(self, layout):
        super().__init__()
        self.layout, self.num_prefix_tokens = layout, 2

    def forward_features(self, images):
        maps = avg_pool2d(images, images.shape[-1] // 4)
        tokens = maps.flatten(2).transpose(1, 2)
        first = tokens.mean(1, keepdim=True).expand(-1, 2, -1)
        match self.layout:
            case "nchw":
                return maps
            case "nhwc":
                return maps.permute(0, 2, 3, 1)
            case "tokens" | "class token":
                return torch.cat([first, tokens], dim=1)
            case "branches":
                return [tokens, tokens]
            case "one place":
                return maps.mean((2, 3), keepdim=True)
            case "vector":
                return maps.mean((2, 3))

    def forward_head(self, features, pre_logits=False):
        match self.layout:
            case "nchw" | "one place":
                means = features.mean((2, 3))
            case "nhwc":
                means = features.mean((1, 2))
            case "tokens":
                means = features[:, 2:].mean(1)
            case "class token":
                means = features[:, 0]
            case "branches":
                means = features[0].mean(1)
            case "vector":
                means = features
        return means if pre_logits else means[:, [2, 0]]


def draw_corners(side, seed, count=16):
    """Noise with a red or a blue corner; labels (red: 1) and corners (row, column)."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, side, side, generator=generator) * 0.1
    labels = torch.arange(count) % 2
    corners = [CORNERS[i // 2 % 4] for i in range(count)]
    part = side // 3
    for image, label, (row, column) in zip(images, labels.tolist(), corners, strict=True):
        top, left = row * (side - part), column * (side - part)
        colour = torch.tensor([2.0, -1.0, -2.0]) * (1 if label else -1)
        image[:, top : top + part, left : left + part] += colour[:, None, None]
    return images, labels, corners


def look(network, images):
    """`(n, 2, h, w)` uint8."""
    mapped = MappedNetwork(network)
    return scale_maps(LayerGradCam(mapped, mapped.maps).attribute(images).detach()[:, 0])


def find_peaks(maps):
    """The corner of each `(h, w)` that holds its strongest place."""
    places = [np.unravel_index(single.argmax(), single.shape) for single in maps]
    half = maps.shape[-1] / 2
    return [(int(row >= half), int(column >= half)) for row, column in places]


@pytest.mark.parametrize("layout", ["nchw", "nhwc", "tokens"])
@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize(("colour", "side"), [(0, FAKE), (2, REAL)])
def test_the_one_corner_that_matters_is_shown_for_its_class(layout, corner, colour, side):
    images = torch.zeros(1, 3, 32, 32)
    row, column = (24 * place for place in corner)
    images[0, colour, row : row + 8, column : column + 8] = 1
    maps = look(MadeNetwork(layout), images)[0]
    expected = np.zeros((2, 4, 4), np.uint8)
    expected[side, corner[0] * 3, corner[1] * 3] = 255
    np.testing.assert_array_equal(maps, expected)


@pytest.mark.parametrize("layout", ["class token", "branches", "one place", "vector"])
def test_a_head_that_reads_no_places_has_no_maps(layout):
    assert not MappedNetwork(MadeNetwork(layout)).depends_on_maps(torch.randn(2, 3, 32, 32))


@pytest.mark.parametrize("model", ["test_resnet", "test_vit2", "test_mambaout"])
def test_a_network_that_has_learned_corners_is_seen_to_look_there(model):
    torch.manual_seed(0)
    network = build_network(make_settings(model=model, image_size=64)).train()
    rate = 1e-3 if model == "test_vit2" else 3e-3
    optimizer = torch.optim.AdamW(network.parameters(), rate)
    half = torch.full((8,), 0.5)  # of empty pictures: neither class is what is left over
    for step in range(40):
        images, labels, _ = draw_corners(64, step)
        images = torch.cat([images, 0.1 * torch.randn(8, 3, 64, 64)])
        optimizer.zero_grad()
        wanted = torch.cat([labels.float(), half])
        binary_cross_entropy_with_logits(embed(network, images)[1], wanted).backward()
        optimizer.step()
    images, labels, corners = draw_corners(64, seed=999, count=32)
    maps = look(network.eval(), images)
    own = maps[np.arange(32), labels]
    assert (own.max((1, 2)) == 255).mean() > 0.9
    found = zip(find_peaks(own), corners, strict=True)
    assert np.mean([peak == corner for peak, corner in found]) > 0.9


@pytest.mark.parametrize(
    ("model", "side", "kind"),
    [
        ("test_resnet", 96, "rgb"),
        ("test_byobnet", 96, "srm"),
        ("test_efficientnet_gn", 96, "rgb+srm"),
        ("swin_tiny_patch4_window7_224", 64, "rgb"),
    ],
)
def test_maps_are_class_activation_maps_where_the_head_is_a_mean_and_a_product(model, side, kind):
    """Zhou et al., "Learning Deep Features for Discriminative Localization" (CVPR 2016)."""
    torch.manual_seed(0)
    settings = make_settings(model=model, image_size=side, network=Network(input=kind))
    network = build_network(settings).eval()
    images = torch.randn(3, 6 if kind == "rgb+srm" else 3, side, side)
    with torch.inference_mode():
        features = network.forward_features(images)
        maps = features if features.shape[2] == features.shape[3] else features.permute(0, 3, 1, 2)
        weights = network.get_classifier().weight.diff(dim=0)[0]
        expected = scale_maps(torch.einsum("bchw,c->bhw", maps, weights))
    found = look(network, images.clone())
    assert (np.abs(found.astype(int) - expected) <= 1).all()
    assert (expected.max((1, 2, 3)) == 255).all()


NETWORKS = [*timm.list_models("test_*"), "levit_128s", "crossvit_9_240"]


@pytest.mark.parametrize("model", NETWORKS)
def test_networks_answer_as_before_and_all_but_two_kinds_have_maps(model):
    side = 240 if model.startswith("crossvit") else 96
    torch.manual_seed(0)
    network = build_network(make_settings(model=model, image_size=side)).eval()
    images = torch.randn(2, 3, side, side)
    mapped = MappedNetwork(network)
    with torch.inference_mode():
        torch.testing.assert_close(mapped(images), embed(network, images)[1])
    reads_tokens = {"test_vit": "a class token", "crossvit_9_240": "two branches"}
    assert mapped.depends_on_maps(images) == (model not in reads_tokens)


def test_tokens_that_are_no_square_have_no_places():
    assert split_maps(torch.zeros(1, 12, 8), prefix=1) is None
    assert split_maps(torch.zeros(1, 2, 8), prefix=1) is None
    maps, put_back = split_maps(torch.arange(20.0).view(1, 10, 2), prefix=1)
    assert maps.shape == (1, 2, 3, 3)
    assert maps[0, 0].tolist() == [[2, 4, 6], [8, 10, 12], [14, 16, 18]]
    assert put_back(maps).flatten().tolist() == list(range(20))
