"""Which weights of a network learn, by `optimizer.tune`; the others stay as they were loaded."""

from typing import Any, NamedTuple

from torch import nn

from features.errors import ConfigError
from features.settings.learning import Tune
from features.settings.training import MemberSettings
from stage1_cnn.networks.frozen_network import FrozenNetwork
from stage1_cnn.networks.graph_encoder import count_graph
from stage1_cnn.networks.network import find_head
from stage1_cnn.tuning.low_rank import LowRank, add_low_rank

LEARNS_STATISTICS: frozenset[Tune] = frozenset({"all", "norm"})
"""Where batch norm goes on with its statistics. Elsewhere its weights do not learn, and statistics
that drift away from them would change a network that is meant to stay."""


class ParameterCount(NamedTuple):
    """How large a network is."""

    stored: int
    """That are kept; low-rank updates are merged into them."""
    learned: int


def prepare_tuning(network: nn.Module, settings: MemberSettings) -> None:
    """Makes `network` one that learns as the settings ask for: in place, before its optimiser.

    Raises `ConfigError` for low-rank layers, norms or checkpoints that it does not have.
    """
    tune = settings.optimizer.tune
    if tune == "lora":
        add_low_rank(network, settings)
    if tune == "norm" and not _list_norm_parameters(network):
        raise ConfigError("backbones", [f"optimizer.tune norm: {settings.model} has no norms"])
    set_learning(network, tune)
    if settings.network.checkpointing:
        _switch_checkpointing(network, settings.model)


def set_learning(network: nn.Module, tune: Tune) -> None:
    """Sets which weights learn, and the modes. The head always learns.

    What is drawn at random in training (`network.dropout`, `drop_path`) is drawn in any case.
    """
    head = find_head(network)
    network.train().requires_grad_(tune == "all")
    if tune not in LEARNS_STATISTICS:
        for module in network.modules():
            if getattr(module, "running_var", None) is not None:
                module.eval()
    head.train().requires_grad_(True)
    if tune == "norm":
        for parameter in _list_norm_parameters(network):
            parameter.requires_grad_(True)
    if tune == "lora":
        for update in _list_updates(network):
            update.requires_grad_(True)


def count_weights(network: nn.Module) -> ParameterCount:
    """Of a network that `prepare_tuning` made ready."""
    updates = sum(map(_count, _list_updates(network)))
    learned = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return ParameterCount(_count(network) - updates, learned)


def count_frozen(network: FrozenNetwork, settings: MemberSettings) -> ParameterCount:
    """A weight for each value of the embedding and a bias are fitted; an ONNX file holds others."""
    stored = _count(network) + (count_graph(settings) if settings.graph else 0)
    return ParameterCount(stored, network.head.in_features + 1)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _list_updates(network: nn.Module) -> list[LowRank]:
    return [module for module in network.modules() if isinstance(module, LowRank)]


def _list_norm_parameters(network: nn.Module) -> list[nn.Parameter]:
    """Scales and shifts. Norms have their name in common, and no class: torch and timm have 40."""
    norms = [module for module in network.modules() if "Norm" in type(module).__name__]
    return [p for norm in norms for p in norm.parameters(recurse=False) if p.ndim == 1]


def _switch_checkpointing(network: Any, model: str) -> None:
    try:
        network.set_grad_checkpointing(True)
    except (AssertionError, AttributeError):  # timm's ways to say so
        problem = f"network.checkpointing: {model} cannot do it; set it to false"
        raise ConfigError("backbones", [problem]) from None
