"""Cross-entropy: the default, and what `logit_adjusted` and `class_mean` build on."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from stage1_cnn.losses.row_loss import RowLoss


class CrossEntropy(RowLoss):
    """Minus the log of the true class, with label smoothing (Szegedy et al., "Rethinking the
    Inception architecture", CVPR 2016).
    """

    def measure(self, logits: Tensor, targets: Tensor) -> Tensor:
        """As `RowLoss.measure`."""
        smoothing = self.settings.label_smoothing
        return cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)
