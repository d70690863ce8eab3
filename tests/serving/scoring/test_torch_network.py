"""Weights of a bundle back into a network."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from small_task import make_settings

from features.settings.learning import Network
from serving.format.facts import MemberFacts
from serving.scoring.torch_network import HEADS, SETTINGS, load_torch_network
from stage1_cnn.networks.network import build_network, fit_image_size
from stage1_cnn.scoring.engines import build_torch_engine


def test_a_transformer_sees_the_side_that_it_was_bundled_for(tmp_path: Path) -> None:
    """Weights that belong to places are kept as they were fitted to that side."""
    settings = make_settings(model="test_vit", image_size=64, network=Network())
    network = build_network(settings)
    fit_image_size(network, settings, 96)
    path = tmp_path / "vit-0.safetensors"
    metadata = {SETTINGS: json.dumps(settings.model_dump(mode="json")), HEADS: "1"}
    save_file(network.state_dict(), path, metadata)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), np.uint8)
    resized = settings.model_copy(update={"image_size": 96})
    wanted = build_torch_engine(network, resized, torch.device("cpu"))(torch.from_numpy(pixels))
    found = load_torch_network(path, MemberFacts.model_construct(side=96))(pixels)
    for own, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(own, other.numpy())
