"""How embeddings lie on the unit sphere: those of a class together, all of them apart.

Wang and Isola, "Understanding contrastive representation learning through alignment and uniformity
on the hypersphere", ICML 2020; with labels in place of views, as in Yermakov et al., "Deepfake
detection that generalizes across benchmarks" (GenD), 2025.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from features.settings.learning import Loss
from stage1_cnn.losses.row_loss import split_classes

TEMPERATURE = 2.0
"""t of the paper, as there."""


def measure_hypersphere(
    settings: Loss, embeddings: Tensor, targets: Tensor, weights: Tensor
) -> Tensor:
    """`alignment` and `uniformity` of embeddings `(b, d)`, times what they weigh in `settings`.

    `targets` as in `RowLoss.measure`; `weights` `(b,)`, in any scale: two rows count as the product
    of theirs, so row and class weights mean here what they mean to the loss.
    """
    first, second = torch.triu_indices(len(weights), len(weights), 1, device=weights.device)
    directions, fractions = normalize(embeddings, dim=1), split_classes(targets, weights)
    distances = 2 - 2 * (directions @ directions.T)[first, second]
    pairs = weights[first] * weights[second]
    total = weights.new_zeros(())
    if settings.alignment:
        # The chance that both are of one class, where labels are mixed.
        alike = (fractions @ fractions.T)[first, second]
        total = total + settings.alignment * _average(distances, pairs * alike)
    if settings.uniformity:
        mean = _average((-TEMPERATURE * distances).exp(), pairs)
        # Without a pair there is nothing to spread.
        spread = torch.where(pairs.sum() > 0, mean, 1.0).log()
        total = total + settings.uniformity * spread
    return total


def _average(values: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean; 0 of nothing."""
    return (values * weights).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)
