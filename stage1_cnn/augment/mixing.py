"""Mixup and cutmix of whole batches by timm, as a pure function of seed and step."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
from timm.data.mixup import Mixup, mixup_target
from torch import Tensor

from features.settings.learning import Augment
from stage1_cnn.networks.devices import send

CLASSES = 2
BLOCK = 16
"""Rows that pairs are drawn within."""
_STREAM = 3
"""Keeps these numbers apart from others that are drawn from the same seed and step."""


def mix_batch(
    images: Tensor, labels: Tensor, augment: Augment, seed: int, step: int, first: int = 0
) -> tuple[Tensor, Tensor]:
    """Images `(b, c, h, w)`, float, changed in place, and targets `(b, 2)`, float32.

    Targets are the shares of real and fake, before any smoothing (the loss does that). A step has
    one kind of mixing and one ratio, or none. Pairs are drawn at random within blocks of 16 rows,
    so processes that share a batch out at multiples of 16 mix as one does; one row of an odd block
    stays unmixed. `first` is the place of the first row in the batch, a multiple of 16. For
    settings of which `augment.mixes` holds.
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
    order = _draw_pairs(len(labels), seed, step, first)
    if len(order):
        rows = send(order, images.device)
        words = np.random.default_rng([seed, _STREAM, step]).integers(1 << 32, size=4)
        with _seed_numpy(words):
            images[rows], targets[rows] = mixup(images[rows], labels[rows])
    return images, targets


def _draw_pairs(count: int, seed: int, step: int, first: int) -> npt.NDArray[np.int64]:
    """Rows in an order in which row j and the one as far from the other end are a pair.

    A sampler's batch has a pattern of classes, so without a permutation the pairs would be of the
    same two classes each time.
    """
    pairs = [np.empty((0, 2), np.int64)]
    for start in range(0, count, BLOCK):
        size = min(BLOCK, count - start)
        rng = np.random.default_rng([seed, _STREAM, step, (first + start) // BLOCK])
        pairs.append(start + rng.permutation(size)[: size // 2 * 2].reshape(-1, 2))
    one, other = np.concatenate(pairs).T
    return np.concatenate([one, other[::-1]])


@contextmanager
def _seed_numpy(words: npt.NDArray[np.int64]) -> Iterator[None]:
    """Sets NumPy's global generator, the one that timm draws from, and puts it back."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(words)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
