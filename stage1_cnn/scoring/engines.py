"""What runs a network over pixels."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from features.settings.training import MemberSettings
from stage1_cnn.networks.devices import choose_precision, describe_device, tell_memory
from stage1_cnn.networks.graph_encoder import has_graph
from stage1_cnn.networks.network import embed
from stage1_cnn.networks.normalise import Normaliser, build_normaliser

Scores = tuple[Tensor, Tensor]
"""Log-odds of fake float32 `(b,)` and embeddings float32 `(b, d)`."""


class Engine(Protocol):
    """Scores pixels `(b, s, s, 3)` uint8 or float in 0 … 255, on `device`; never in place."""

    @property
    def device(self) -> torch.device:
        """Where pixels must be; scores are there, too."""
        ...

    @property
    def side(self) -> int:
        """Side in pixels of the squares that the network sees; others are resized."""
        ...

    @property
    def name(self) -> str:
        """What computes, with its version: another one rounds otherwise."""
        ...

    def __call__(self, pixels: Tensor) -> Scores: ...


class TorchEngine:
    """A network in torch, in evaluation mode, on the device of `normalise`."""

    def __init__(
        self, network: nn.Module, normalise: Normaliser, precision: torch.dtype = torch.float32
    ) -> None:
        self.network, self.normalise, self.precision = network, normalise, precision
        self.device, self.side = normalise.device, normalise.size
        self.name = f"torch {torch.__version__} {str(precision).removeprefix('torch.')}"
        if has_graph(network):
            self.name = f"ONNX Runtime {version('onnxruntime')}"

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> Scores:
        embeddings, log_odds = embed(self.network, self.normalise(pixels), self.precision)
        return log_odds.float(), embeddings.float()


def describe_engines(engines: Sequence[Engine]) -> dict[str, Any]:
    """What computes, and on which device: scores depend on both."""
    device = engines[0].device
    return {
        "engines": [engine.name for engine in engines],
        "device": describe_device(device) if device.type == "cuda" else device.type,
    }


def build_torch_engine(
    network: nn.Module, settings: MemberSettings, device: torch.device
) -> TorchEngine:
    """`network`, built from `settings`, moved to `device`; in the precision of its training.

    Raises `DeviceMemoryError`.
    """
    with tell_memory(device):
        network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    precision = choose_precision(settings.network.precision, device)
    return TorchEngine(network, build_normaliser(network, settings, device), precision)
