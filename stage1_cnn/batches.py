"""Whole batches of pixels: flipped, resized and normalised on the training device."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from features.images import Pixels
from features.train_params import Augment

Flips = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Normaliser:
    """uint8 pixels of the store into what a network takes: float32 `(b, 3, size, size)`."""

    mean: Sequence[float]
    std: Sequence[float]
    size: int
    device: torch.device

    def __call__(self, pixels: Pixels, flips: Flips | None = None) -> Tensor:
        """`pixels`: uint8 `(b, s, s, 3)` with s at least `size`; `flips` as of `draw_flips`.

        Channels-last in memory. `pixels` may be changed.
        """
        images = torch.from_numpy(pixels).to(self.device)
        if flips is not None:
            flip_images(images, flips)
        images = images.float()
        if images.shape[1] != self.size:
            images = self._resize(images)
        # Whole lines of pixels: with the three channels alone as the innermost axis the same
        # arithmetic takes 2.7 times as long on a CPU.
        lines = images.view(len(images), self.size, self.size * 3)
        lines.sub_(self._repeat(self.mean)).div_(self._repeat(self.std))
        return images.permute(0, 3, 1, 2)

    def _resize(self, images: Tensor) -> Tensor:
        shape = (self.size, self.size)
        planes = interpolate(images.permute(0, 3, 1, 2), shape, mode="bilinear", antialias=True)
        return planes.permute(0, 2, 3, 1).contiguous()

    def _repeat(self, values: Sequence[float]) -> Tensor:
        # ImageNet statistics are given for 0 … 1, pixels are 0 … 255.
        return torch.tensor(values, device=self.device).mul(255).repeat(self.size)


def draw_flips(augment: Augment, count: int, seed: int, step: int) -> Flips:
    """`(2, count)`: images to mirror left to right, and upside down; a function of (seed, step)."""
    chances = np.random.default_rng([seed, 2, step]).random((2, count))
    return chances < np.array([[augment.hflip], [augment.vflip]])


def flip_images(images: Tensor, flips: Flips) -> None:
    """Flips `(b, s, s, 3)` in place, on the device where they are."""
    for chosen, axis in zip(flips, (2, 1), strict=True):
        rows = torch.from_numpy(np.flatnonzero(chosen)).to(images.device)
        images[rows] = images[rows].flip(axis)
