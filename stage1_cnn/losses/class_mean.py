"""The mean of the reals' and of the fakes' mean loss (Seferbekov, winner of the DFDC, 2020)."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from features.core.members import Correction
from stage1_cnn.losses.cross_entropy import CrossEntropy
from stage1_cnn.losses.row_loss import split_classes

SELDOM = 1e-6
"""Batches of which so few lack a class as if none did."""


class ClassMean(CrossEntropy):
    """Cross-entropy; in each batch both classes weigh the same, however many rows they have."""

    @property
    def prevalence(self) -> float:
        """Half, whatever was drawn; but a batch that lacks a class is all of the other one."""
        reals, fakes = self.totals.lacking
        return 0.5 + (reals - fakes) / 2

    def compute_correction(self) -> Correction:
        """Approximate where batches lack a class, since how many do is a matter of chance."""
        plain = super().compute_correction()
        return replace(plain, approximate=True) if sum(self.totals.lacking) > SELDOM else plain

    def row_weights(
        self,
        targets: Tensor,
        weights: Tensor,
        batch: int,
        add: Callable[[Tensor], Tensor] = lambda t: t,
    ) -> Tensor:
        """As `RowLoss.row_weights`, but those of each batch add up to 1."""
        fractions = split_classes(targets, weights)
        mass = add((fractions * weights[:, None]).sum(0))
        per_class = torch.where(mass > 0, 1 / mass.clamp(min=1e-30), 0) / (mass > 0).sum()
        return weights * (fractions @ per_class)
