"""Whole batches of pixels: flipped; resized and normalised on the training device."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from features.images import Pixels
from features.train_params import Augment


@dataclass(frozen=True)
class Normaliser:
    """uint8 pixels of the store into what a network takes: float32 `(b, 3, size, size)`."""

    mean: Sequence[float]
    std: Sequence[float]
    size: int
    device: torch.device

    def __call__(self, pixels: Pixels) -> Tensor:
        """`pixels`: uint8 `(b, s, s, 3)` with s at least `size`. Channels-last in memory."""
        images = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2).float()
        if images.shape[-1] != self.size:
            shape = (self.size, self.size)
            images = interpolate(images, shape, mode="bilinear", antialias=True)
        # ImageNet statistics are given for 0 … 1, pixels are 0 … 255.
        mean = torch.tensor(self.mean, device=self.device).mul(255).view(1, 3, 1, 1)
        std = torch.tensor(self.std, device=self.device).mul(255).view(1, 3, 1, 1)
        return images.sub_(mean).div_(std).contiguous(memory_format=torch.channels_last)


def flip_batch(pixels: Pixels, augment: Augment, seed: int, step: int) -> Pixels:
    """Flips each image of `(b, s, s, 3)` by chance: a pure function of (seed, step)."""
    rng = np.random.default_rng([seed, 2, step])
    chances = rng.random((2, len(pixels)))
    across, down = chances[0] < augment.hflip, chances[1] < augment.vflip
    pixels[across] = pixels[across, :, ::-1]
    pixels[down] = pixels[down, ::-1]
    return pixels
