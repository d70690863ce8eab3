"""Logit adjustment (Menon et al., "Long-tail learning via logit adjustment", ICLR 2021)."""

from dataclasses import replace
from functools import cached_property

import torch
from scipy.special import logit
from torch import Tensor

from features.core.members import Correction
from stage1_cnn.losses.cross_entropy import CrossEntropy


class LogitAdjusted(CrossEntropy):
    """Cross-entropy of the log-odds of fake plus `loss.tau` times those of the prevalence."""

    @cached_property
    def offset(self) -> float:
        """What is added to the log-odds of fake, in the loss alone."""
        return self.settings.tau * float(logit(self.prevalence))

    def measure(self, logits: Tensor, targets: Tensor) -> Tensor:
        """As `RowLoss.measure`."""
        adjusted = torch.stack([logits[:, 0], logits[:, 1] + self.offset], dim=1)
        return super().measure(adjusted, targets)

    def compute_correction(self) -> Correction:
        """The minimiser lacks the offset."""
        plain = super().compute_correction()
        return replace(plain, shift=plain.shift + self.offset)
