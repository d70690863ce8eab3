"""How many images of each class a member learns from, and what one of each counts."""

from dataclasses import dataclass

import numpy as np

from features.settings.learning import Loss


@dataclass(frozen=True)
class ClassTotals:
    """Of all reals and of all fakes, in this order."""

    images: tuple[int, int]
    """That the member learns from."""
    weights: tuple[float, float]
    """What these weigh together by the manifest's column, 1 each where there is none."""
    masses: tuple[float, float]
    """What they weigh in a draw, on average and before class weights."""
    lacking: tuple[float, float] = (0.0, 0.0)
    """The chance that a batch has none of them."""


def compute_class_weights(settings: Loss, totals: ClassTotals) -> tuple[float, float]:
    """What a real and a fake count beside their own weight; the mean over all weight is 1.

    `balanced`: w / (2 w_c), w_c what class c weighs. `effective`: in proportion to
    (1 - β) / (1 - β^n_c), the effective number of images (Cui et al., "Class-balanced loss based on
    effective number of samples", CVPR 2019). A number: of what a real counts to what a fake does.
    """
    numbers, masses = np.asarray(totals.images, np.float64), np.asarray(totals.weights)
    if settings.class_weight == "none":
        return 1.0, 1.0
    if settings.class_weight == "effective":
        # expm1 and log1p: 1 - β^n keeps its digits for β near 1
        effective = -np.expm1(numbers * np.log1p(settings.effective_beta - 1))
        weights = 1 / effective
    elif settings.class_weight == "balanced":
        weights = 1 / masses
    else:
        weights = np.array([settings.class_weight, 1.0])
    real, fake = weights * masses.sum() / (weights * masses).sum()
    return float(real), float(fake)
