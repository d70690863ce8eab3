"""A member that ONNX cannot hold, in torch: for bundles with such a member alone."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn

from features.settings.training import MemberSettings
from serving.format.facts import MemberFacts
from serving.scoring.views import Squares
from stage1_cnn.graphs.sessions import Single
from stage1_cnn.networks.network import build_network, fit_image_size
from stage1_cnn.scoring.engines import build_torch_engine

SETTINGS = "settings"
"""Key of the file's metadata: the member's settings as JSON."""


def load_torch_network(
    path: Path, facts: MemberFacts
) -> Callable[[Squares], tuple[Single, Single]]:
    """The network of a `.safetensors` file whose metadata hold its settings."""
    with safe_open(path, "pt") as file:
        settings = MemberSettings.model_validate(json.loads(file.metadata()[SETTINGS]))
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    network: nn.Module = build_network(settings, load=False)
    network.load_state_dict(state)
    fit_image_size(network, settings, facts.side)
    resized = settings.model_copy(update={"image_size": facts.side})
    engine = build_torch_engine(network, resized, torch.device("cpu"))

    def score(squares: Squares) -> tuple[Single, Single]:
        log_odds, embeddings = engine(torch.from_numpy(squares))
        return log_odds.numpy(), embeddings.numpy()

    return score
