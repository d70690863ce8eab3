"""The noise of a picture: residuals of three fixed high-pass filters (SRM).

A pasted or generated region carries other noise than its surroundings. The filters are those that
Zhou et al., "Learning Rich Features for Image Manipulation Detection" (CVPR 2018), took from the
30 of Fridrich and Kodovsky, "Rich Models for Steganalysis of Digital Images" (TIFS 2012).
"""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

MAPS = 3
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
    kernels, scale = _build_kernels(images.device)
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
