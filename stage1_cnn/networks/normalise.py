"""Whole batches of pixels: resized, filtered and normalised on the training device.

The noise of a picture are residuals of three fixed high-pass filters (SRM). A pasted or generated
region carries other noise than its surroundings. The filters are those that Zhou et al., "Learning
Rich Features for Image Manipulation Detection" (CVPR 2018), took from the 30 of Fridrich and
Kodovsky, "Rich Models for Steganalysis of Digital Images" (TIFS 2012).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, pad

from features.pixels.decoding import Pixels
from features.settings.training import MemberSettings
from stage1_cnn.networks.network import get_normalisation

# Grey levels. Beyond them a residual shows edges rather than noise. 3 is the truncation of
# Ye, Ni and Yi, "Deep Learning Hierarchical Representations for Image Steganalysis" (TIFS 2017).
TRUNCATION = 3.0
# Standard deviation of truncated residuals, measured on 60 photographs: 1.7, 1.7 and 1.9.
SPREAD = 1.8
# Second order in both directions (3 × 3 "square"), KV (5 × 5), second order along a line. Each
# with the divisor that makes its residual the error of predicting one pixel from its neighbours.
_FILTERS = (
    (4, [[0, 0, 0, 0, 0], [0, -1, 2, -1, 0], [0, 2, -4, 2, 0], [0, -1, 2, -1, 0], [0, 0, 0, 0, 0]]),
    (12, [[-1, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2], [2, -6, 8, -6, 2],
          [-1, 2, -2, 2, -1]]),
    (2, [[0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 1, -2, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]),
)  # fmt: skip
_COLOURS = 3


def extract_noise(images: Tensor) -> Tensor:
    """Noise maps `(b, 3, h, w)` of float32 RGB pixels `(b, 3, h, w)` in 0 … 255; h, w at least 3.

    Each map is the mean over the colours of one filter's residual, cut off at ±`TRUNCATION` grey
    levels and divided by `SPREAD`: a variance of about one. Channels-last where `images` are.
    """
    # What is built while a graph is recorded belongs to the graph, and is not kept.
    is_recording = torch.compiler.is_exporting()
    build_kernels = _build_kernels.__wrapped__ if is_recording else _build_kernels
    kernels, scale = build_kernels(images.device)
    # bfloat16 has steps of a whole grey level above 128: the noise itself would be lost.
    with torch.autocast(images.device.type, enabled=False):
        maps = conv2d(pad(images, (2, 2, 2, 2), mode="reflect"), kernels)
    limit = TRUNCATION / SPREAD
    return maps.mul_(scale).clamp_(-limit, limit)


@lru_cache
def _build_kernels(device: torch.device) -> tuple[Tensor, Tensor]:
    # Whole numbers, divided afterwards: on whole pixels the sums are exact, in TF32 too.
    with torch.inference_mode(False):
        kernels = torch.tensor([taps for _, taps in _FILTERS], dtype=torch.float32, device=device)
        divisors = torch.tensor([[[q]] for q, _ in _FILTERS], dtype=torch.float32, device=device)
        planes = kernels[:, None].repeat(1, _COLOURS, 1, 1)
        planes = planes.contiguous(memory_format=torch.channels_last)
        return planes, 1 / (divisors * _COLOURS * SPREAD)


def resize_pixels(pixels: Tensor, side: int) -> Tensor:
    """Pixels `(b, s, s, 3)` in 0 … 255 as float32 `(b, side, side, 3)`; as they were if s = side.

    Antialiased and bilinear; never rounded, which would lose the finest noise.
    """
    if pixels.shape[1] == side:
        return pixels
    # Plane by plane: on a CPU 1.3 times as fast as with the colours innermost.
    planes = pixels.permute(0, 3, 1, 2).contiguous().float()
    small = interpolate(planes, (side, side), mode="bilinear", antialias=True)
    return small.permute(0, 2, 3, 1).contiguous()


Input = Literal["rgb", "srm", "rgb+srm"]
"""As of `network.input`."""


def build_input(kind: Input, planes: Tensor, normalise: Callable[[], Tensor]) -> Tensor:
    """What a network takes of pixels `(b, 3, h, w)` in 0 … 255: colours, noise maps, or both.

    Colours are `normalise()`, asked for last, because it may change the pixels. Both callers have
    their own: what is fast by lines of pixels in memory is slow in a graph, and the other way.
    """
    if kind == "rgb":
        return normalise()
    noise = extract_noise(planes)
    return noise if kind == "srm" else torch.cat([normalise(), noise], dim=1)


@dataclass(frozen=True)
class Normaliser:
    """Pixels of the store into what a network takes: float32 `(b, c, size, size)`.

    `mean`, `std`: per channel of RGB in 0 … 1. `input`: as of `network.input`; c is 6 for both.
    """

    mean: Sequence[float]
    std: Sequence[float]
    size: int
    device: torch.device
    input: Input = "rgb"

    def __call__(self, images: Tensor | Pixels) -> Tensor:
        """`images`: `(b, s, s, 3)` in 0 … 255, uint8 or float; s at least `size`. Left as they are.

        Channels-last in memory. Noise maps are those of the resized pixels, after the RGB.
        """
        pixels = resize_pixels(self._move(images), self.size)
        planes = pixels.permute(0, 3, 1, 2)
        return build_input(self.input, planes, lambda: self._normalise(pixels))

    @property
    def grey_levels(self) -> tuple[Tensor, Tensor]:
        """`mean` and `std` as pixels have them: statistics are given for 0 … 1."""
        mean, std = torch.tensor([self.mean, self.std]).mul(255)
        return mean, std

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
        mean, std = (values.to(self.device) for values in self.grey_levels)
        return mean.repeat(self.size), std.repeat(self.size)


def build_normaliser(
    network: nn.Module, settings: MemberSettings, device: torch.device
) -> Normaliser:
    """What `network`, built from `settings`, wants its pixels to be: size, statistics, noise."""
    mean, std = get_normalisation(network)
    return Normaliser(mean, std, settings.image_size, device, settings.network.input)
