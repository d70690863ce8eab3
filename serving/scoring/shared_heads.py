"""The heads of several folds on one frozen encoder, which is computed once for all of them.

network.head = SharedHeads(own.head for own in networks)
log_odds, embeddings = engine(pixels)  # (b, k), a column a head, and (b, d)
"""

from typing import cast

import torch
from torch import Tensor, nn

from stage1_cnn.networks.frozen_network import FrozenNetwork, read_head


class SharedHeads(nn.ModuleList):
    """`k` heads, each computed by itself: it says to the bit what it says alone."""

    def forward(self, embeddings: Tensor) -> Tensor:
        """Logits `(b, 2, k)` of embeddings `(b, d)`."""
        return torch.stack([head(embeddings) for head in self], dim=2)


def read_heads(network: FrozenNetwork) -> list[tuple[Tensor, float]]:
    """Weight `(d,)` and bias of each head: log-odds of fake are embedding · weight + bias."""
    heads = network.head if isinstance(network.head, SharedHeads) else [network.head]
    return [read_head(head) for head in cast("list[nn.Linear]", heads)]
