"""A network that ONNX cannot hold, in torch: for bundles with such a network alone."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from features.settings.training import MemberSettings
from serving.format.facts import MemberFacts
from serving.scoring.shared_heads import SharedHeads
from serving.scoring.views import Squares
from stage1_cnn.graphs.sessions import Single
from stage1_cnn.networks.network import build_network
from stage1_cnn.scoring.engines import build_torch_engine

SETTINGS, HEADS = "settings", "heads"
"""Keys of the file's metadata: a member's settings as JSON, and how many members share it."""


def load_torch_network(
    path: Path, facts: MemberFacts
) -> Callable[[Squares], tuple[Single, Single]]:
    """The network of a `.safetensors` file; `facts`: of any member that it is."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        settings = MemberSettings.model_validate(json.loads(metadata[SETTINGS]))
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    resized = settings.model_copy(update={"image_size": facts.side})
    network: Any = build_network(resized, load=False)
    if (heads := int(metadata[HEADS])) > 1:
        network.head = SharedHeads(deepcopy(network.head) for _ in range(heads))
    network.load_state_dict(state)
    engine = build_torch_engine(network, resized, torch.device("cpu"))

    def score(squares: Squares) -> tuple[Single, Single]:
        log_odds, embeddings = engine(torch.from_numpy(squares))
        return log_odds.numpy(), embeddings.numpy()

    return score
