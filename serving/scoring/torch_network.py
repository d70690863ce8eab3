"""A network that ONNX cannot hold, in torch: for bundles with such a network alone."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn

from features.settings.training import MemberSettings
from serving.format.facts import MemberFacts
from serving.scoring.views import Squares
from stage1_cnn.graphs.sessions import Single
from stage1_cnn.networks.frozen_network import find_reading, freeze_network
from stage1_cnn.networks.joined_network import JoinedNetwork
from stage1_cnn.networks.network import build_network
from stage1_cnn.scoring.engines import build_torch_engine

SETTINGS = "settings"
"""Key of the file's metadata: settings of all members that share it, as JSON, head by head."""


def load_torch_network(
    path: Path, facts: MemberFacts
) -> Callable[[Squares], tuple[Single, Single]]:
    """The network of a `.safetensors` file; `facts`: of any member that it is."""
    with safe_open(path, "pt") as file:
        listed = json.loads(file.metadata()[SETTINGS])
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    resized = [
        MemberSettings.model_validate(own).model_copy(update={"image_size": facts.side})
        for own in listed
    ]
    network = build_network(resized[0], load=False)
    if len(resized) > 1:
        network = _join_all(network, resized)
    network.load_state_dict(state)
    engine = build_torch_engine(network, resized[0], torch.device("cpu"))

    def score(squares: Squares) -> tuple[Single, Single]:
        log_odds, embeddings = engine(torch.from_numpy(squares))
        return log_odds.numpy(), embeddings.numpy()

    return score


def _join_all(network: nn.Module, settings: list[MemberSettings]) -> JoinedNetwork:
    """The encoder of `network` under a head for each of `settings`."""
    by_reading = {find_reading(own): own for own in settings}
    networks = {
        reading: freeze_network(network.encoder, own) for reading, own in by_reading.items()
    }
    joined = JoinedNetwork([networks[find_reading(own)] for own in settings])
    joined.heads = nn.ModuleList(map(deepcopy, joined.heads))  # each with weights of its own
    return joined
