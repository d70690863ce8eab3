"""Weights of a bundle back into a network."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from small_task import make_settings

from features.settings.learning import Network
from features.settings.training import MemberSettings
from serving.format.facts import MemberFacts
from serving.scoring.torch_network import SETTINGS, load_torch_network
from stage1_cnn.networks.frozen_network import freeze_network, set_head
from stage1_cnn.networks.joined_network import JoinedNetwork
from stage1_cnn.networks.network import build_network, fit_image_size
from stage1_cnn.scoring.engines import build_torch_engine


def describe(members: list[MemberSettings]) -> dict[str, str]:
    """Metadata of a file."""
    return {SETTINGS: json.dumps([own.model_dump(mode="json") for own in members])}


def test_a_transformer_sees_the_side_that_it_was_bundled_for(tmp_path: Path) -> None:
    """Weights that belong to places are kept as they were fitted to that side."""
    settings = make_settings(model="test_vit", image_size=64, network=Network())
    network = build_network(settings)
    fit_image_size(network, settings, 96)
    path = tmp_path / "vit-0.safetensors"
    save_file(network.state_dict(), path, describe([settings]))
    pixels = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), np.uint8)
    resized = settings.model_copy(update={"image_size": 96})
    wanted = build_torch_engine(network, resized, torch.device("cpu"))(torch.from_numpy(pixels))
    found = load_torch_network(path, MemberFacts.model_construct(side=96))(pixels)
    for own, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(own, other.numpy())


def test_backbones_that_read_one_encoder_come_back_each_with_its_own_head(tmp_path: Path) -> None:
    readings = ({}, {"layer": 1}, {}, {"layer": 1, "pooling": "max"})
    members = [make_settings(kind="frozen", model="test_vit", **own) for own in readings]
    encoder = build_network(members[0]).encoder
    networks = [freeze_network(encoder, own) for own in members]
    for place, network in enumerate(networks):
        weight = torch.linspace(-1, 1 + place, network.head.in_features)
        set_head(network, weight, float(place))
    joined = JoinedNetwork(networks)
    path = tmp_path / "last+inner.safetensors"
    save_file(joined.state_dict(), path, describe(members))
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    engine = build_torch_engine(joined, members[0], torch.device("cpu"))
    found = load_torch_network(path, MemberFacts.model_construct(side=32))(pixels)
    for own, other in zip(found, engine(torch.from_numpy(pixels)), strict=True):
        np.testing.assert_array_equal(own, other.numpy())
    assert found[0].shape == (3, 4)
