"""timm networks with two outputs: built, loaded, and asked for embeddings and log-odds."""

import os
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from features.errors import ConfigError, PipelineError
from features.params import suggest_name
from features.train_params import MemberSettings, is_hub_name


class WeightsError(PipelineError):
    """Pretrained weights cannot be had."""

    def __init__(self, settings: MemberSettings, reason: object) -> None:
        super().__init__(
            f"pretrained weights of {settings.model} ({settings.pretrained}) cannot be loaded: "
            f"{str(reason).splitlines()[0] if str(reason) else type(reason).__name__}. Without a "
            "network, name a file: backbones.NAME.pretrained, relative to weights.root"
        )


def build_network(settings: MemberSettings, load: bool = True) -> nn.Module:
    """The backbone with a two-class head; with its pretrained weights unless `load` is off.

    Raises `ConfigError` for a network that timm does not know, `WeightsError`.
    """
    check_model_name(settings.model)
    arguments: dict[str, Any] = {"num_classes": 2}
    if timm.get_pretrained_cfg(settings.model).fixed_input_size:  # type: ignore[union-attr]
        arguments["img_size"] = settings.image_size
    if not load or settings.pretrained is False:
        return timm.create_model(settings.model, pretrained=False, **arguments)
    overlay = _locate_weights(settings)
    try:
        return timm.create_model(
            settings.model, pretrained=True, pretrained_cfg_overlay=overlay, **arguments
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise WeightsError(settings, error) from error


def check_model_name(name: str) -> None:
    """Raises `ConfigError` with the nearest name that timm knows."""
    if not timm.is_model(name):
        problem = f"timm has no network {name!r}{suggest_name(name, timm.list_models())}"
        raise ConfigError("backbones", [problem])


def _locate_weights(settings: MemberSettings) -> dict[str, str]:
    """Where timm takes the weights from, in the words of its `pretrained_cfg`."""
    place = settings.pretrained
    if place is True:
        return {}
    assert isinstance(place, str)
    if is_hub_name(place):
        return {"hf_hub_id": place.partition(":")[2]}
    path = Path(settings.weights.root) / place
    if path.is_dir():
        path = path / f"{settings.model}.safetensors"
    if not path.is_file():
        raise WeightsError(settings, f"there is no file {path}")
    return {"file": str(path)}


def get_normalisation(network: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of RGB in 0 … 1, from the network's own config."""
    config = timm.data.resolve_model_data_config(network)
    return tuple(config["mean"]), tuple(config["std"])


def embed(network: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings `(b, d)` (what the head's last layer sees) and log-odds of fake `(b,)`."""
    features = network.forward_features(images)
    embeddings = network.forward_head(features, pre_logits=True)
    logits = network.forward_head(features)
    return embeddings, logits[:, 1] - logits[:, 0]


def pick_device() -> torch.device:
    """CUDA where there is one; `FORGERYSTACK_DEVICE` (`cpu`, `cuda:1`) decides otherwise."""
    asked = os.environ.get("FORGERYSTACK_DEVICE", "auto")
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(asked)
    except RuntimeError:
        raise ConfigError("FORGERYSTACK_DEVICE", [f"{asked!r} is no device"]) from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("FORGERYSTACK_DEVICE", [f"{asked} was asked for, but there is no CUDA"])
    return device
