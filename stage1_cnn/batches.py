"""Whole batches of pixels: resized, filtered and normalised on the training device."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn

from features.images import Pixels
from features.train_params import MemberSettings
from stage1_cnn.network import get_normalisation
from stage1_cnn.noise import extract_noise
from stage1_cnn.resizing import resize_pixels


@dataclass(frozen=True)
class Normaliser:
    """Pixels of the store into what a network takes: float32 `(b, c, size, size)`.

    `mean`, `std`: per channel of RGB in 0 … 1. `input`: as of `network.input`; c is 6 for both.
    """

    mean: Sequence[float]
    std: Sequence[float]
    size: int
    device: torch.device
    input: Literal["rgb", "srm", "rgb+srm"] = "rgb"

    def __call__(self, images: Tensor | Pixels) -> Tensor:
        """`images`: `(b, s, s, 3)` in 0 … 255, uint8 or float; s at least `size`. Left as they are.

        Channels-last in memory. Noise maps are those of the resized pixels, after the RGB.
        """
        pixels = resize_pixels(self._move(images), self.size)
        if self.input == "rgb":
            return self._normalise(pixels)
        noise = extract_noise(pixels.permute(0, 3, 1, 2))
        if self.input == "srm":
            return noise
        return torch.cat([self._normalise(pixels), noise], dim=1)

    def _move(self, images: Tensor | Pixels) -> Tensor:
        tensor = images if isinstance(images, Tensor) else torch.from_numpy(images)
        # Bytes travel to the device, a quarter of the floats; a copy, because it is worked on.
        return tensor.to(self.device).to(
            torch.float32, copy=True, memory_format=torch.contiguous_format
        )

    def _normalise(self, pixels: Tensor) -> Tensor:
        # Whole lines of pixels: with the three channels alone as the innermost axis the same
        # arithmetic takes 2.7 times as long on a CPU.
        mean, std = self._lines
        pixels.view(len(pixels), self.size, self.size * 3).sub_(mean).div_(std)
        return pixels.permute(0, 3, 1, 2)

    @cached_property
    def _lines(self) -> tuple[Tensor, Tensor]:
        # ImageNet statistics are given for 0 … 1, pixels are 0 … 255.
        mean, std = torch.tensor([self.mean, self.std], device=self.device).mul(255)
        return mean.repeat(self.size), std.repeat(self.size)


def build_normaliser(
    network: nn.Module, settings: MemberSettings, device: torch.device
) -> Normaliser:
    """What `network`, built from `settings`, wants its pixels to be: size, statistics, noise."""
    mean, std = get_normalisation(network)
    return Normaliser(mean, std, settings.image_size, device, settings.network.input)
