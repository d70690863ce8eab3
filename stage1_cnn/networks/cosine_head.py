"""A head that knows directions alone: the angle between an embedding and each of two classes."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from features.errors import ConfigError

INITIAL_SCALE = 10.0
"""Of the cosines; learned from there (Gidaris and Komodakis, CVPR 2018)."""


class CosineHead(nn.Module):
    """Logits `(b, 2)` of embeddings `(b, d)`: scaled cosines to a direction for each class.

    Embeddings and weights have length 1 in it (Wang et al., "NormFace: L2 hypersphere embedding for
    face verification", ACM MM 2017). The scale is learned as its logarithm, so it stays positive;
    the bias lets log-odds follow the prevalence of what is drawn.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(2, width))
        self.bias = nn.Parameter(torch.zeros(2))
        self.log_scale = nn.Parameter(torch.full((), math.log(INITIAL_SCALE)))
        nn.init.normal_(self.weight)

    def forward(self, embeddings: Tensor) -> Tensor:
        cosines = linear(normalize(embeddings, dim=1), normalize(self.weight, dim=1))
        return self.log_scale.exp() * cosines + self.bias


def set_cosine_head(network: Any, model: str) -> None:
    """Puts a `CosineHead` in place of the network's last layer.

    Raises `ConfigError` where that is not one linear layer, as in networks made for distillation.
    """
    head = network.get_classifier()
    if not isinstance(head, nn.Linear):
        problem = f"network.head cosine: {model} does not end in one linear layer; set it to linear"
        raise ConfigError("backbones", [problem])
    name = next(name for name, module in network.named_modules() if module is head)
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, CosineHead(head.in_features))
