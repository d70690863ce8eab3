"""The losses by the name that `loss.kind` gives them.

loss = build_loss(settings.loss, ClassTotals((200, 800), weights=(200.0, 800.0), masses=(0.5, 0.5)))
value = (loss.measure(logits, labels) * loss.row_weights(labels, weights, len(labels))).sum()
"""

from features.settings.learning import Loss
from stage1_cnn.losses.class_mean import ClassMean
from stage1_cnn.losses.class_weights import ClassTotals
from stage1_cnn.losses.cross_entropy import CrossEntropy
from stage1_cnn.losses.focal import Focal
from stage1_cnn.losses.logit_adjusted import LogitAdjusted
from stage1_cnn.losses.row_loss import RowLoss

LOSSES: dict[str, type[RowLoss]] = {
    "cross_entropy": CrossEntropy,
    "focal": Focal,
    "logit_adjusted": LogitAdjusted,
    "class_mean": ClassMean,
}
"""What options mean to each, and what it cannot learn from: `LOSS_KINDS` of the settings."""


def build_loss(settings: Loss, totals: ClassTotals) -> RowLoss:
    """The loss of a member that learns from such `totals`."""
    return LOSSES[settings.kind](settings, totals)
