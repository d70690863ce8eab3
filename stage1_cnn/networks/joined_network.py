"""Frozen networks that have their encoder in common: it looks at a picture once for all of them.

joined = join_networks([last, inner], images)
embeddings, log_odds = embed(joined, images)  # (b, d + e), (b, 2)
inner_embeddings = embeddings[:, joined.spans[1]]
"""

import itertools
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from stage1_cnn.networks.frozen_network import FrozenNetwork, pool_reading, read_encoder


class JoinedNetwork(nn.Module):
    """The encoder of the first network under the heads of all, each computed by itself: it says to
    the bit what it says alone."""

    def __init__(self, networks: Sequence[FrozenNetwork]) -> None:
        super().__init__()
        self.encoder, self.pretrained_cfg = networks[0].encoder, networks[0].pretrained_cfg
        self.num_prefix_tokens = networks[0].num_prefix_tokens
        self.readings = tuple(dict.fromkeys(network.reading for network in networks))
        self.places = [self.readings.index(network.reading) for network in networks]
        """Which of `readings` a head sees."""
        self.heads = nn.ModuleList(network.head for network in networks)

    @property
    def widths(self) -> list[int]:
        """Lengths of the embeddings of `readings`, which stand one after the other."""
        pairs = zip(self.places, self.heads, strict=True)
        by_place = {place: cast("nn.Linear", head).in_features for place, head in pairs}
        return [by_place[place] for place in range(len(self.readings))]

    @property
    def spans(self) -> list[slice]:
        """Where the embedding of each network lies."""
        edges = [0, *itertools.accumulate(self.widths)]
        return [slice(edges[place], edges[place + 1]) for place in self.places]

    def forward_features(self, images: Tensor) -> tuple[Tensor, ...]:
        """What is read of the encoder."""
        return tuple(read_encoder(self.encoder, images, self.readings))

    def forward_head(self, features: Sequence[Tensor], pre_logits: bool = False) -> Tensor:
        """Embeddings `(b, d)` of all readings, or logits `(b, 2, k)` of all heads."""
        pairs = zip(features, self.readings, strict=True)
        embeddings = [pool_reading(self.encoder, own, reading) for own, reading in pairs]
        if pre_logits:
            return torch.cat(embeddings, dim=1)
        found = zip(self.heads, self.places, strict=True)
        return torch.stack([head(embeddings[place]) for head, place in found], dim=2)


def join_networks(networks: Sequence[FrozenNetwork], images: Tensor) -> JoinedNetwork:
    """`networks` as one; `images`, normalised, are shown to all of them for proof.

    Raises `ValueError` where an encoder that is read in several places says anything else than
    where it is read in one.
    """
    joined = JoinedNetwork(networks)
    if len(joined.readings) == 1:
        return joined
    with torch.inference_mode():
        embeddings = joined.forward_head(joined.forward_features(images), pre_logits=True)
        for network, span in zip(networks, joined.spans, strict=True):
            alone = network.forward_head(network.forward_features(images), pre_logits=True)
            if not torch.equal(embeddings[:, span], alone):
                raise ValueError("layers that are read together say something else than alone")
    return joined
