"""The last feature maps of a timm network that its answer depends on, for Grad-CAM.

Networks lay them out as `(b, c, h, w)`, as `(b, h, w, c)`, or as tokens `(b, n, c)` behind a few
that stand for no place. Where only such a token is read, the last layer's gradients are zero at
all places, and an earlier layer has to tell.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from stage1_cnn.network import embed

TOP = "forward_features"
"""In place of a layer's name: what the head sees."""


class MappedNetwork(nn.Module):
    """Log-odds of fake `(b,)` of images; on the way the feature maps of `layer` pass `maps`.

    `maps` sees them as `(b, c, h, w)` and hands them on. Parameters need no gradients any more.
    """

    def __init__(self, network: Any, layer: str) -> None:
        super().__init__()
        self.network: Any
        self.network, self.layer, self.maps = network.requires_grad_(False), layer, nn.Identity()
        self._prefix = int(getattr(network, "num_prefix_tokens", 0))
        self._hook = None
        if layer != TOP:
            self._hook = network.get_submodule(layer).register_forward_hook(
                lambda module, inputs, output: self._show(output)
            )

    def forward(self, images: Tensor) -> Tensor:
        return embed(self, images)[1]

    def forward_features(self, images: Tensor) -> Any:
        """timm's, which `embed` calls."""
        features = self.network.forward_features(images)
        return self._show(features) if self.layer == TOP else features

    def forward_head(self, features: Any, pre_logits: bool = False) -> Tensor:
        """timm's, which `embed` calls."""
        return self.network.forward_head(features, pre_logits=pre_logits)

    def leave(self) -> None:
        """Lets go of the layer."""
        if self._hook:
            self._hook.remove()

    def _show(self, features: Any) -> Any:
        found = split_maps(features, self._prefix) if isinstance(features, Tensor) else None
        if found is None:
            return features
        maps, put_back = found
        # A copy: what comes next may work in place.
        return put_back(self.maps(maps)).clone()

    def depends_on_maps(self, images: Tensor) -> bool:
        """Whether the answer to `images` would change with the feature maps."""
        seen: list[Tensor] = []
        watch = self.maps.register_forward_hook(lambda _, __, maps: seen.append(maps))
        grow = self.maps.register_forward_pre_hook(lambda _, given: given[0].requires_grad_())
        with watch, grow, torch.enable_grad():
            log_odds = self(images)
        if len(seen) != 1 or not log_odds.requires_grad:
            return False
        (gradient,) = torch.autograd.grad(log_odds.sum(), seen, materialize_grads=True)
        return bool((gradient != 0).any())


def split_maps(features: Tensor, prefix: int) -> tuple[Tensor, Callable[[Tensor], Tensor]] | None:
    """Square feature maps as `(b, c, s, s)`, and how to put them back; none of a single place.

    `prefix`: how many tokens stand before those of places, if they do at this layer.
    """
    if features.ndim == 4:
        _, first, second, third = features.shape
        if second == third > 1:
            return features, lambda maps: maps
        if first == second > 1:
            return features.permute(0, 3, 1, 2), lambda maps: maps.permute(0, 2, 3, 1)
    if features.ndim == 3:
        for skipped in dict.fromkeys((prefix, 0)):
            places = features.shape[1] - skipped
            side = math.isqrt(max(places, 0))
            if side * side == places > 1:
                return _split_tokens(features, skipped, side)
    return None


def _split_tokens(
    tokens: Tensor, skipped: int, side: int
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    def put_back(maps: Tensor) -> Tensor:
        return torch.cat([tokens[:, :skipped], maps.flatten(2).transpose(1, 2)], dim=1)

    return tokens[:, skipped:].transpose(1, 2).unflatten(2, (side, side)), put_back


def list_layers(network: nn.Module) -> list[str]:
    """`TOP`, then the ends of the stages that timm names, the last one first."""
    modules = {name for name, _ in network.named_modules()}
    stages = getattr(network, "feature_info", None) or []
    names = [stage.get("module", "") for stage in stages] if isinstance(stages, list) else []
    return [TOP, *(name for name in dict.fromkeys(reversed(names)) if name in modules)]


def find_maps(network: nn.Module, images: Tensor) -> MappedNetwork | None:
    """`network` with its last feature maps on which its answer to `images` depends, if any."""
    for layer in list_layers(network):
        mapped = MappedNetwork(network, layer)
        if mapped.depends_on_maps(images):
            return mapped
        mapped.leave()
    return None
