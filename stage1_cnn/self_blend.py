"""Fakes made of real images: a changed copy of an image blended into the image itself.

Shiohara and Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022. What a network
can find is what face swaps share: a soft seam, and statistics that differ on its two sides. The
paper's mask is the hull of facial landmarks; here it is an ellipse or a polygon around the centre,
so nothing has to be detected and the images need not be faces.

Ranges are the paper's, of its code (mapooon/SelfBlendedImages), unless said otherwise.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from stage1_cnn.distortions import Floats, blur, change_colour, per_row, rescale, sharpen

DRAWS = 128
"""Uniform numbers that one blend takes from its row at most."""
RATIOS = np.array([0.25, 0.5, 0.75, 1.0, 1.0, 1.0])
"""Share of the source within the mask."""
SHIFT = (0.03, 0.015)
"""Largest shift of the source, x and y, in sides of the image."""
SCALE = (0.95, 1 / 0.95)
RGB_SHIFT = 20.0
RGB_SHIFT_CHANCE = 0.3
EDGES = 10
"""Sides of a polygon at most: some of the drawn lines may pass it by."""
FIELD = 4
"""Points a side of the grid whose random shifts bend the mask."""
BEND = 0.05
"""Standard deviation of these shifts, in sides of the image."""
SEAM = (0.006, 0.035)
"""Standard deviation of the blur of the mask, in sides of the image: about what the box-like
kernels of 5 … 25 pixels in the paper's code do at 224 pixels."""


class _Draws:
    """Hands out the columns of uniform numbers `(b, k)` from left to right."""

    def __init__(self, uniform: Floats) -> None:
        self._uniform, self._next = uniform, 0

    def take(self, low: float, high: float, count: int = 1) -> Floats:
        """`(b, count)` between `low` and `high`."""
        first, self._next = self._next, self._next + count
        if self._next > self._uniform.shape[1]:
            raise ValueError(f"{self._next} columns are asked for, {self._uniform.shape[1]} drawn")
        return low + (high - low) * self._uniform[:, first : self._next]


@dataclass(frozen=True)
class Blend:
    """`images` and the `target` they were blended into `(b, 3, s, s)`, and `mask` `(b, 1, s, s)`.

    `mask` is the share of the source, 0 … 1. Where it is 0, images and target are equal.
    """

    images: Tensor
    target: Tensor
    mask: Tensor


def blend_with_self(planes: Tensor, uniform: Floats) -> Blend:
    """Square planes `(b, 3, s, s)`, float32 of 0 … 255; `uniform` `(b, DRAWS)` within 0 … 1.

    As in the paper either the source or the target has its statistics changed, half of the time
    each: the target of such a row is not the image as it came.
    """
    draws = _Draws(uniform)
    changed = change_statistics(planes, draws)
    is_source = torch.from_numpy(draws.take(0, 1)[:, 0] < 0.5).to(planes.device)[
        :, None, None, None
    ]
    source = move(torch.where(is_source, changed, planes), draws)
    target = torch.where(is_source, planes, changed)
    mask = draw_mask(draws, planes)
    # target + mask * (source - target) leaves the target as it is, to the bit, where mask is 0.
    return Blend(target + mask * (source - target), target, mask)


def change_statistics(planes: Tensor, draws: _Draws) -> Tensor:
    """Colours shifted, then either sharpened or made coarse."""
    shifted = draws.take(0, 1) < RGB_SHIFT_CHANCE
    shifts = draws.take(-RGB_SHIFT, RGB_SHIFT, 3) * shifted
    planes = planes + per_row(shifts, planes)
    planes = turn_hue(planes, draws.take(-0.1, 0.1)[:, 0]).clamp_(0, 255)
    factors = draws.take(0.9, 1.1, 3)
    planes = change_colour(planes, *factors.T)
    amounts, factors = draws.take(0.5, 2.0)[:, 0], draws.take(0.3, 0.7)[:, 0]
    coarse = draws.take(0, 1)[:, 0] < 0.5
    for rows, change, values in (
        (np.flatnonzero(coarse), rescale, factors),
        (np.flatnonzero(~coarse), sharpen, amounts),
    ):
        if len(rows):
            places = torch.from_numpy(rows).to(planes.device)
            planes[places] = change(planes[places], values[rows])
    return planes


def turn_hue(planes: Tensor, angles: Floats) -> Tensor:
    """Colours turned about the grey axis by so many radians."""
    # Rodrigues' formula for the axis (1, 1, 1) / sqrt(3): the sum of the channels stays.
    cosines, sines = (per_row(f(angles)[:, None], planes) for f in (np.cos, np.sin))
    means = planes.mean(1, keepdim=True)
    crossed = (planes.roll(1, 1) - planes.roll(-1, 1)) / 3**0.5
    return means + (planes - means) * cosines + crossed * sines


def move(planes: Tensor, draws: _Draws) -> Tensor:
    """A little shifted and scaled about the centre; what comes in over the border is mirrored."""
    shift_x, shift_y = (draws.take(-2 * limit, 2 * limit)[:, 0] for limit in SHIFT)
    scale = 1 / draws.take(*SCALE)[:, 0]
    x, y = _list_places(planes)
    x, y = (
        x * per_row(scale, planes) + per_row(shift_x, planes),
        y * per_row(scale, planes) + per_row(shift_y, planes),
    )
    grid = torch.stack(torch.broadcast_tensors(x, y), dim=3)
    return grid_sample(planes, grid, "bilinear", "reflection", align_corners=False)


def _list_places(planes: Tensor) -> tuple[Tensor, Tensor]:
    """Centres of pixels, x `(1, 1, s)` and y `(1, s, 1)`, -1 … 1 from border to border."""
    side = planes.shape[2]
    places = (2 * torch.arange(side, device=planes.device, dtype=planes.dtype) + 1) / side - 1
    return places[None, None, :], places[None, :, None]


def draw_mask(draws: _Draws, planes: Tensor) -> Tensor:
    """`(b, 1, s, s)`, 0 … the blend ratio; exactly 0 a few widths of the seam from the shape."""
    side = planes.shape[2]
    x, y = _bend_places(draws, planes)
    outline = torch.where(
        per_row(draws.take(0, 1)[:, 0], planes) < 0.5,
        torch.hypot(x, y),
        _measure_polygon(draws, x, y),
    )
    inside = (outline <= 1).to(planes.dtype)[:, None]
    sigmas = draws.take(*SEAM)[:, 0] * side
    ratios = RATIOS[draws.take(0, len(RATIOS)).astype(np.int64)]
    return blur(inside, sigmas, SEAM[1] * side).clamp_(0, 1) * per_row(ratios, planes)


def _bend_places(draws: _Draws, planes: Tensor) -> tuple[Tensor, Tensor]:
    """x and y `(b, s, s)` in which the outline is a unit circle, moved, stretched and bent."""
    count, side = len(planes), planes.shape[2]
    x, y = _list_places(planes)
    # A uniform number within ±sqrt(3) has the standard deviation 1; a side is 2 long.
    limit = 2 * BEND * 3**0.5
    shifts = draws.take(-limit, limit, 2 * FIELD**2).reshape(count, 2, FIELD, FIELD)
    field = torch.from_numpy(shifts).to(planes.device, planes.dtype)
    field = interpolate(field, (side, side), mode="bicubic", align_corners=True)
    centre_x, centre_y = draws.take(-0.15, 0.15, 2).T
    half_width, half_height = draws.take(0.3, 0.7, 2).T
    x = (x + field[:, 0] - per_row(centre_x, planes)) / per_row(half_width, planes)
    y = (y + field[:, 1] - per_row(centre_y, planes)) / per_row(half_height, planes)
    return x, y


def _measure_polygon(draws: _Draws, x: Tensor, y: Tensor) -> Tensor:
    """`(b, s, s)`: at most 1 within a random convex polygon around 0, the cut of half-planes."""
    angles = 2 * np.pi * (np.arange(EDGES) + draws.take(0, 1, EDGES)) / EDGES
    distances = draws.take(0.7, 1.2, EDGES)
    result = torch.full_like(x, -torch.inf)
    for angle, distance in zip(angles.T, distances.T, strict=True):
        across, along = per_row(np.cos(angle) / distance, x), per_row(np.sin(angle) / distance, x)
        result = torch.maximum(result, x * across + y * along)
    return result
