"""Low-rank updates: a weight W is used as W + alpha / rank · U D, and U and D alone learn.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (ICLR 2022). An update belongs to
the weight, not to the layer: whatever reads the weight sees it, and merging changes no answer.

add_low_rank(network, settings)
state = merge_low_rank(network)   # of a plain network of timm
"""

import math
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from features.errors import ConfigError
from features.settings.training import MemberSettings
from stage1_cnn.networks.network import find_head

ATTENTION = ("*attn.qkv", "*attn.[qkv]", "*attn.kv", "*attn.[qkv]_proj", "*attn.proj")
"""Linear layers of attention, as timm names them."""


class LowRank(nn.Module):
    """The update of the weight of a linear layer or a convolution; zero until it learns."""

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        rows, columns = weight.flatten(1).shape
        self.down = nn.Parameter(weight.new_empty(rank, columns))
        self.up = nn.Parameter(weight.new_zeros(rows, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))  # as torch draws a linear layer
        self.scale = alpha / rank

    def forward(self, weight: Tensor) -> Tensor:
        """`weight` with its update, in float32 under autocast too: so it will be merged."""
        with torch.autocast(weight.device.type, enabled=False):
            return weight + (self.scale * self.up @ self.down).view(weight.shape)


def add_low_rank(network: nn.Module, settings: MemberSettings) -> None:
    """Gives the layers of `optimizer.lora_layers` an update each, in place.

    Raises `ConfigError` for a pattern that names none.
    """
    optimizer = settings.optimizer
    for name in _choose_layers(network, settings):
        layer = network.get_submodule(name)
        update = LowRank(layer.get_parameter("weight"), optimizer.lora_rank, optimizer.lora_alpha)
        # Its shape is right, and trying it out takes a device that computes: counting has none.
        parametrize.register_parametrization(layer, "weight", update, unsafe=True)


def merge_low_rank(network: nn.Module) -> dict[str, Tensor]:
    """The state of `network`, which stays as it is, with its updates added to their weights.

    Names are those of the network without updates.
    """
    state: dict[str, Tensor] = network.state_dict()
    for name, layer in network.named_modules():
        if parametrize.is_parametrized(layer, "weight"):
            inner = f"{name}.parametrizations.weight."
            state = {key: value for key, value in state.items() if not key.startswith(inner)}
            state[f"{name}.weight"] = layer.weight.detach()
    return state


def _choose_layers(network: nn.Module, settings: MemberSettings) -> list[str]:
    """Names of those that get an update, of all whose weight is larger than the rank both ways."""
    patterns, rank = settings.optimizer.lora_layers, settings.optimizer.lora_rank
    head = set(find_head(network).modules())
    layers = {
        name: layer
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
        and layer not in head
        and min(layer.weight.flatten(1).shape) > rank
    }
    if patterns is None:
        pointwise = [
            name
            for name, layer in layers.items()
            if layer.weight[0].numel() == layer.weight.shape[1]
        ]
        chosen = _match(layers, ATTENTION) or pointwise
        missed = [] if chosen else ["null"]
    else:
        chosen = _match(layers, patterns)
        missed = [repr(pattern) for pattern in patterns if not _match(layers, [pattern])]
    if missed:
        known = ", ".join(dict.fromkeys(re.sub(r"\d+", "*", name) for name in layers)) or "none"
        problem = (
            f"optimizer.lora_layers: {', '.join(missed)} names no layer of {settings.model}; of "
            f"those above rank {rank} it has {known}"
        )
        raise ConfigError("backbones", [problem])
    return chosen


def _match(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    patterns = list(patterns)
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
