"""The mean of the reals' and of the fakes' mean loss (Seferbekov, winner of the DFDC, 2020)."""

from collections.abc import Callable

import torch
from torch import Tensor

from stage1_cnn.losses.cross_entropy import CrossEntropy
from stage1_cnn.losses.row_loss import split_classes


class ClassMean(CrossEntropy):
    """Cross-entropy; in each batch both classes weigh the same, however many rows they have."""

    @property
    def prevalence(self) -> float:
        """Whatever was drawn, half of it counts for fakes."""
        return 0.5

    def row_weights(
        self, targets: Tensor, weights: Tensor, add: Callable[[Tensor], Tensor] = lambda t: t
    ) -> Tensor:
        """As `RowLoss.row_weights`. A batch that lacks a class is that of the other one."""
        fractions = split_classes(targets, weights)
        mass = add((fractions * weights[:, None]).sum(0))
        per_class = torch.where(mass > 0, 1 / mass.clamp(min=1e-30), 0) / (mass > 0).sum()
        return weights * (fractions @ per_class)
