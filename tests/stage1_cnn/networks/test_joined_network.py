"""Frozen networks with one encoder: joined, they say to the bit what each says alone."""

import pytest
import torch
from small_task import make_settings
from torch import nn

from stage1_cnn.networks.frozen_network import FrozenNetwork, freeze_network, set_head
from stage1_cnn.networks.joined_network import join_networks
from stage1_cnn.networks.network import build_network, embed

IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
READINGS = ({}, {"layer": 1}, {"layer": 0, "pooling": "max"}, {"pooling": "mean"}, {"layer": 1})


def build_networks(model: str, *readings: dict) -> list[FrozenNetwork]:
    """One encoder under a head for each reading, which says something of its own."""
    torch.manual_seed(0)
    networks: list[FrozenNetwork] = []
    for number, reading in enumerate(readings):
        settings = make_settings(kind="frozen", model=model, **reading)
        encoder = networks[0].encoder if networks else build_network(settings, load=False).encoder
        network = freeze_network(encoder, settings)
        weight = torch.linspace(-1, 1 + number, network.head.in_features)
        set_head(network, weight, 0.5 * number)
        networks.append(network)
    return networks


@pytest.mark.parametrize("model", ["test_resnet", "test_vit", "test_efficientnet"])
def test_joined_networks_say_what_they_say_alone(model: str) -> None:
    networks = build_networks(model, *READINGS)
    joined = join_networks(networks, IMAGES)
    assert len(joined.readings) == 4  # two of the five read the same
    with torch.inference_mode():
        embeddings, log_odds = embed(joined, IMAGES)
        for number, network in enumerate(networks):
            alone, odds = embed(network, IMAGES)
            assert torch.equal(embeddings[:, joined.spans[number]], alone)
            assert torch.equal(log_odds[:, number], odds)
    assert embeddings.shape[1] == sum(joined.widths)


def test_the_encoder_looks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = build_networks("test_vit", *READINGS)
    joined = join_networks(networks, IMAGES)
    looks = []
    block = networks[0].encoder.blocks[0]
    block.register_forward_hook(lambda *given: looks.append(1))
    with torch.inference_mode():
        embed(joined, IMAGES)
    assert len(looks) == 1


class FickleEncoder(nn.Module):
    """Its last layer depends on which others are read."""

    output_fmt = "NCHW"

    def __init__(self) -> None:
        super().__init__()
        self.pretrained_cfg = dict[str, object]()
        self.register_parameter("weight", nn.Parameter(torch.zeros(1)))

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        return images

    def forward_intermediates(
        self, images: torch.Tensor, indices: list[int], intermediates_only: bool, stop_early: bool
    ):
        inner = [images * (index + 2) for index in indices]
        return inner if intermediates_only else (images + 1e-3, inner)


def test_what_depends_on_what_else_is_read_cannot_be_joined() -> None:
    encoder = FickleEncoder()
    networks = [
        freeze_network(encoder, make_settings(kind="frozen", **reading))
        for reading in ({"pooling": "mean"}, {"layer": 0})
    ]
    with pytest.raises(ValueError, match="say something else than alone"):
        join_networks(networks, IMAGES)
