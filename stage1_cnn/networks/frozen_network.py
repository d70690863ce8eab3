"""Encoders whose weights stay as they are, under a head of their own.

network = freeze_network(timm.create_model("resnet18", num_classes=0), settings)
set_head(network, weight, bias)
"""

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from features.errors import ConfigError
from features.settings.training import MemberSettings, Pooling


class Reading(NamedTuple):
    """What is read of an encoder."""

    layer: int | None = None
    """`None`: the last one."""
    pooling: Pooling | None = None
    """`None`: what the encoder's own head sees."""
    output: str | None = None
    """Of an ONNX file."""


def find_reading(settings: MemberSettings) -> Reading:
    """Of a frozen member."""
    pooling = settings.pooling or (None if settings.layer is None else "mean")
    return Reading(settings.layer, pooling, settings.graph.output if settings.graph else None)


class FrozenNetwork(nn.Module):
    """An encoder of timm and a linear head, with the methods of timm's that `embed` calls."""

    def __init__(self, encoder: Any, reading: Reading) -> None:
        """The head is made by `freeze_network`."""
        super().__init__()
        self.encoder, self.reading = encoder, reading
        self.pretrained_cfg = encoder.pretrained_cfg
        self.num_prefix_tokens = count_prefix_tokens(encoder)
        self.head = nn.Linear(1, 2)

    def forward_features(self, images: Tensor) -> Any:
        """Feature maps `(b, c, h, w)`, tokens `(b, n, c)`, or whatever the encoder gives."""
        return read_encoder(self.encoder, images, [self.reading])[0]

    def forward_head(self, features: Any, pre_logits: bool = False) -> Tensor:
        """Embeddings `(b, d)`, or logits `(b, 2)`."""
        embeddings = pool_reading(self.encoder, features, self.reading)
        return embeddings if pre_logits else self.head(embeddings)


def count_prefix_tokens(encoder: Any) -> int:
    """Tokens of an encoder that stand for no place, such as the class token."""
    return int(getattr(encoder, "num_prefix_tokens", 0))


def read_encoder(encoder: Any, images: Tensor, readings: Sequence[Reading]) -> list[Any]:
    """The features of each reading before they are pooled, by one look of `encoder`."""
    if readings[0].output is not None:
        outputs = list(dict.fromkeys(own.output for own in readings))
        found = dict(zip(outputs, encoder.forward_outputs(images, outputs), strict=True))
        return [found[own.output] for own in readings]
    layers = sorted({own.layer for own in readings if own.layer is not None})
    by_layer: dict[int | None, Any] = {}
    is_last_read = any(own.layer is None for own in readings)
    if layers:
        last, inner = _extract_layers(encoder, images, layers, is_last_read)
        by_layer = dict(zip(layers, inner, strict=True)) | {None: last}
    elif is_last_read:
        by_layer[None] = encoder.forward_features(images)
    return [_order_axes(encoder, by_layer[own.layer], own) for own in readings]


def _order_axes(encoder: Any, features: Any, reading: Reading) -> Any:
    """Maps of the last layer as `(b, c, h, w)`, where they are pooled here."""
    is_nhwc = getattr(encoder, "output_fmt", "NCHW") == "NHWC"
    if reading.layer is None and reading.pooling and is_nhwc:
        return features.permute(0, 3, 1, 2)
    return features


def _extract_layers(
    encoder: Any, images: Tensor, layers: list[int], is_last_read: bool
) -> tuple[Any, list[Tensor]]:
    """The features of the last layer, where they are read, and those of `layers`."""
    extract, prefix_tokens = encoder.forward_intermediates, count_prefix_tokens(encoder)
    options: dict[str, Any] = {"indices": layers, "intermediates_only": not is_last_read}
    options["stop_early"] = not is_last_read  # what lies above is not computed
    known = inspect.signature(extract).parameters
    if "return_prefix_tokens" in known and prefix_tokens:
        options |= {"return_prefix_tokens": True, "output_fmt": "NLC"}
    found = extract(images, **options)
    last, inner = found if is_last_read else (None, found)
    return last, [_join_tokens(own) for own in inner]


def _join_tokens(found: Any) -> Tensor:
    if isinstance(found, tuple):
        tokens, prefix = found
        return torch.cat([prefix, tokens], dim=1)
    return cast("Tensor", found)


def pool_reading(encoder: Any, features: Any, reading: Reading) -> Tensor:
    """`features` of a reading as embeddings `(b, d)`."""
    if reading.pooling is None:
        return cast("Tensor", encoder.forward_head(features, pre_logits=True))
    return pool_features(features, reading.pooling, count_prefix_tokens(encoder))


def pool_features(features: Tensor, pooling: Pooling, prefix: int) -> Tensor:
    """`(b, c)` of maps `(b, c, h, w)` or tokens `(b, n, c)`, `prefix` of which stand for no place.

    Raises `ValueError` where there is no class token, or no place.
    """
    if features.ndim == 4:
        places, tokens = features.flatten(2), None
    elif features.ndim == 3:
        places, tokens = features[:, prefix:].transpose(1, 2), features[:, :prefix]
    else:
        raise ValueError(f"its features of shape {tuple(features.shape)} are of no places")
    if pooling == "token":
        if tokens is None or not prefix:
            raise ValueError("it has no class token")
        return tokens[:, 0]
    return places.mean(dim=2) if pooling == "mean" else places.amax(dim=2)


def freeze_network(encoder: Any, settings: MemberSettings) -> FrozenNetwork:
    """`encoder`, a network of timm without a classifier or a graph, under a head that says nothing.

    Raises `ConfigError` where it has no such layer or pooling.
    """
    encoder = encoder.eval().requires_grad_(False)
    if settings.layer is not None and not hasattr(encoder, "forward_intermediates"):
        problem = f"layer {settings.layer}: of {settings.model} timm gives no layer but the last"
        raise ConfigError("backbones", [problem], "Leave it out, or take another network")
    network = FrozenNetwork(encoder, find_reading(settings))
    if settings.graph is not None:
        assert settings.width is not None
        return _add_head(network, settings.width, encoder.content.device)
    device = next(encoder.parameters()).device
    channels = 6 if settings.network.input == "rgb+srm" else 3
    black = torch.zeros(1, channels, settings.image_size, settings.image_size, device=device)
    try:
        with torch.inference_mode():
            embedding = network.forward_head(network.forward_features(black), pre_logits=True)
        if embedding.ndim != 2:
            raise ValueError(f"its embedding has the shape {tuple(embedding.shape[1:])}")
    except (AssertionError, IndexError, ValueError) as error:
        asked = {"layer": settings.layer, "pooling": settings.pooling}
        named = ", ".join(f"{name} {value}" for name, value in asked.items() if value is not None)
        if not named:
            raise
        problem = f"{named}: {settings.model} cannot do it ({error})"
        raise ConfigError("backbones", [problem]) from error
    return _add_head(network, embedding.shape[1], device)


def _add_head(network: FrozenNetwork, width: int, device: torch.device) -> FrozenNetwork:
    """A head for embeddings of this width that says nothing."""
    with torch.device(device):
        network.head = nn.Linear(width, 2).requires_grad_(False)
    set_head(network, torch.zeros(width), 0.0)
    return network.eval()


def set_head(network: FrozenNetwork, weight: Tensor, bias: float) -> None:
    """Log-odds of fake become embedding · `weight` `(d,)` + `bias`."""
    head = network.head
    with torch.no_grad():
        head.weight.zero_()
        head.bias.zero_()
        head.weight[1] = weight
        head.bias[1] = bias


def read_head(head: nn.Linear) -> tuple[Tensor, float]:
    """`weight` `(d,)` and bias of a network's head, as `set_head` left them."""
    return head.weight[1] - head.weight[0], float(head.bias[1] - head.bias[0])
