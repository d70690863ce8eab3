"""Focal loss: sure answers count less (Lin et al., "Focal loss for dense object detection",
ICCV 2017).
"""

from dataclasses import replace

from scipy.special import logit
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from features.core.members import Correction
from stage1_cnn.losses.row_loss import RowLoss


class Focal(RowLoss):
    """That of torchvision, on the log-odds of fake; `loss.gamma`, `loss.alpha`."""

    def measure(self, logits: Tensor, targets: Tensor) -> Tensor:
        """As `RowLoss.measure`; `targets` are classes."""
        alpha = -1.0 if self.settings.alpha is None else self.settings.alpha
        log_odds = logits[:, 1] - logits[:, 0]
        return sigmoid_focal_loss(log_odds, targets.to(log_odds), alpha, self.settings.gamma)

    def compute_correction(self) -> Correction:
        """`gamma` bends the log-odds of the minimiser, `alpha` shifts them."""
        plain, alpha = super().compute_correction(), self.settings.alpha
        shift = plain.shift if alpha is None else plain.shift - float(logit(alpha))
        return replace(plain, shift=shift, gamma=self.settings.gamma)
