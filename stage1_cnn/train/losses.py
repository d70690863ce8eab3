"""Losses over the two classes: one value a row, and how much each row counts in its batch.

A batch's loss is the sum of `loss.measure(...) * loss.share_out(...)`. Shares add up to 1 over the
whole batch, so parts of a batch, on one device after the other or on several at once, add up to it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import logit
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot
from torchvision.ops import sigmoid_focal_loss

from features.settings.learning import Loss

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RowLoss:
    """What `loss.kind` asks for, with the numbers that the train rows decide.

    `cross_entropy`, with label smoothing (Szegedy et al., "Rethinking the Inception architecture",
    CVPR 2016). `focal` (Lin et al., "Focal loss for dense object detection", ICCV 2017),
    torchvision's, on the log-odds of fake. `logit_adjusted` (Menon et al., "Long-tail learning via
    logit adjustment", ICLR 2021): cross-entropy of the logits plus `offset`. `class_mean`: the mean
    of the reals' and of the fakes' mean loss (Seferbekov, winner of the DFDC, 2020).
    """

    settings: Loss
    class_weights: tuple[float, float] = (1.0, 1.0)
    """What a real and a fake count."""
    offset: float = 0.0
    """Added to the log-odds of fake in the loss alone (`logit_adjusted`)."""

    def measure(self, logits: Tensor, targets: Tensor) -> Tensor:
        """`(b,)` losses of `(b, 2)` logits; `targets` are classes `(b,)` or shares `(b, 2)`."""
        kind, smoothing = self.settings.kind, self.settings.label_smoothing
        if kind == "focal":
            alpha = -1.0 if self.settings.alpha is None else self.settings.alpha
            log_odds = logits[:, 1] - logits[:, 0]
            return sigmoid_focal_loss(log_odds, targets.to(log_odds), alpha, self.settings.gamma)
        if self.offset:
            logits = torch.stack([logits[:, 0], logits[:, 1] + self.offset], dim=1)
        return cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)

    def share_out(
        self, targets: Tensor, weights: Tensor, add: Callable[[Tensor], Tensor] = lambda t: t
    ) -> Tensor:
        """`(b,)` how much each row counts; adds up to 1 over the whole batch.

        `weights` `(b,)` are the row weights. A batch that lacks a class is that of the other one.
        `add` sums a tensor over the processes that have parts of the batch.
        """
        shares = one_hot(targets, 2).to(weights) if targets.ndim == 1 else targets
        if self.settings.kind == "class_mean":
            mass = add((shares * weights[:, None]).sum(0))
            per_class = torch.where(mass > 0, 1 / mass.clamp(min=1e-30), 0) / (mass > 0).sum()
            return weights * (shares @ per_class)
        real, fake = self.class_weights  # no tensor of them: making one waits for the device
        counted = weights * (real * shares[:, 0] + fake * shares[:, 1])
        return counted / add(counted.sum())


def build_loss(settings: Loss, masses: tuple[float, float], counts: tuple[int, int]) -> RowLoss:
    """The loss of a member.

    Args:
        settings: the section `loss`.
        masses: what reals and fakes weigh in all draws of an epoch, before class weights.
        counts: images of each class that the member learns from.
    """
    class_weights = weigh_classes(settings, counts)
    offset = 0.0
    if settings.kind == "logit_adjusted":
        share = find_share(masses, class_weights)
        offset = settings.tau * float(logit(share))
    return RowLoss(settings, class_weights, offset)


def weigh_classes(settings: Loss, counts: tuple[int, int]) -> tuple[float, float]:
    """What a real and a fake count; the mean over all rows is 1.

    `balanced`: n / (2 n_c). `effective`: in proportion to (1 - β) / (1 - β^n_c), the effective
    number of images (Cui et al., "Class-balanced loss based on effective number of samples",
    CVPR 2019).
    """
    numbers = np.asarray(counts, np.float64)
    if settings.class_weight == "none":
        return 1.0, 1.0
    if settings.class_weight == "effective":
        # expm1 and log1p: 1 - β^n keeps its digits for β near 1
        effective = -np.expm1(numbers * np.log1p(settings.effective_beta - 1))
        weights = 1 / effective
    else:
        weights = 1 / numbers
    real, fake = weights * numbers.sum() / (weights * numbers).sum()
    return float(real), float(fake)


def find_share(masses: tuple[float, float], class_weights: tuple[float, float]) -> float:
    """The share of fakes that the loss sees, in 0 … 1."""
    real, fake = np.asarray(masses) * class_weights
    return float(fake / (real + fake))
