"""The feature maps that a timm network's head reads, for Grad-CAM.

Networks lay them out as `(b, c, h, w)`, as `(b, h, w, c)`, or as tokens `(b, n, c)` behind a few
that stand for no place. Heads that read only such a class token have no feature maps to show:
places told it in every layer below. Measured on pictures where one corner alone mattered, in three
trainings of a small such network: at none of four layers did Grad-CAM find it for both classes.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from stage1_cnn.networks.network import embed

LAYER = "forward_features"
"""What timm calls all below the head."""


class MappedNetwork(nn.Module):
    """Log-odds of fake `(b,)` of images; on the way the feature maps pass `maps`.

    `maps` sees them as `(b, c, s, s)` and hands them on. Parameters need no gradients any more.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network: Any = network.requires_grad_(False)
        self.maps = nn.Identity()
        self._prefix = int(getattr(network, "num_prefix_tokens", 0))

    def forward(self, images: Tensor) -> Tensor:
        return embed(self, images)[1]

    def forward_features(self, images: Tensor) -> Any:
        """timm's, which `embed` calls."""
        features = self.network.forward_features(images)
        found = split_maps(features, self._prefix) if isinstance(features, Tensor) else None
        if found is None:
            return features
        maps, put_back = found
        # A copy: what comes next may work in place.
        return put_back(self.maps(maps)).clone()

    def forward_head(self, features: Any, pre_logits: bool = False) -> Tensor:
        """timm's, which `embed` calls."""
        return self.network.forward_head(features, pre_logits=pre_logits)

    def depends_on_maps(self, images: Tensor) -> bool:
        """Whether the answer to `images` would be another one with other feature maps."""
        seen: list[Tensor] = []

        def watch(module: nn.Module, given: tuple[Tensor], maps: Tensor) -> None:
            seen.append(maps.requires_grad_())

        with self.maps.register_forward_hook(watch), torch.enable_grad():
            log_odds = self(images)
        if not seen or not log_odds.requires_grad:
            return False
        (gradient,) = torch.autograd.grad(log_odds.sum(), seen, materialize_grads=True)
        return bool((gradient != 0).any())


def split_maps(features: Tensor, prefix: int) -> tuple[Tensor, Callable[[Tensor], Tensor]] | None:
    """Feature maps of a square as `(b, c, s, s)`, and how to put them back; none of one place.

    `prefix`: how many tokens stand before those of places.
    """
    if features.ndim == 4:
        _, first, second, third = features.shape
        if second == third > 1:
            return features, lambda maps: maps
        if first == second > 1:
            return features.permute(0, 3, 1, 2), lambda maps: maps.permute(0, 2, 3, 1)
    if features.ndim == 3:
        places = features.shape[1] - prefix
        side = math.isqrt(max(places, 0))
        if side * side == places > 1:
            maps = features[:, prefix:].transpose(1, 2).unflatten(2, (side, side))
            others = features[:, :prefix]
            return maps, lambda maps: torch.cat([others, maps.flatten(2).transpose(1, 2)], dim=1)
    return None
