"""Mixup and cutmix of whole batches by timm, as a pure function of seed and step."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from timm.data.mixup import Mixup, mixup_target
from torch import Tensor

from features.augment_params import Augment

CLASSES = 2
_STREAM = 3
"""Keeps these numbers apart from others that are drawn from the same seed and step."""


def mix_batch(
    images: Tensor, labels: Tensor, augment: Augment, seed: int, step: int
) -> tuple[Tensor, Tensor]:
    """Images `(b, c, h, w)`, float, changed in place, and targets `(b, 2)`, float32.

    Targets are the shares of real and fake, before any smoothing (the loss does that). A step has
    one kind of mixing and one ratio, or none. Pairs are drawn at random; one row of an odd batch
    stays unmixed. `augment.mixup` + `augment.cutmix` is above 0.
    """
    mixup = Mixup(
        mixup_alpha=augment.mixup_alpha,
        cutmix_alpha=augment.cutmix_alpha,
        prob=augment.mixup + augment.cutmix,
        switch_prob=augment.cutmix / (augment.mixup + augment.cutmix),
        label_smoothing=0.0,
        num_classes=CLASSES,
    )
    targets = mixup_target(labels, CLASSES)
    rng = np.random.default_rng([seed, _STREAM, step])
    # Mixup pairs a row with the one as far from the other end. A sampler's batch has a pattern of
    # classes, so without a permutation the pairs would be of the same two classes each time.
    order = rng.permutation(len(labels))[: len(labels) // 2 * 2]
    if len(order):
        rows = torch.from_numpy(order).to(images.device)
        with _seed_numpy(rng.integers(1 << 32, size=4)):
            images[rows], targets[rows] = mixup(images[rows], labels[rows])
    return images, targets


@contextmanager
def _seed_numpy(words: np.ndarray) -> Iterator[None]:
    """Sets NumPy's global generator, the one that timm draws from, and puts it back."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(words)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
