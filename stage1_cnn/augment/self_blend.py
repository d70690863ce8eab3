"""Fakes made of real images: a changed copy of an image blended into the image itself.

Shiohara and Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022. What a network
can find is what face swaps share: a soft seam, and statistics that differ on its two sides. The
paper's mask is the hull of facial landmarks; here it is an ellipse or a polygon in the box of the
face where one is known, and else around the centre: images need not be faces.

The paper changes the statistics of either the source or the whole target, and then shows the
changed target as a real too. Here only the source is changed: a real stays as it is, and nothing
but the seam and its two sides tells a blend from a real.

Ranges are those of the paper's code (mapooon/SelfBlendedImages) unless said otherwise.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from stage1_cnn.augment.distortions import (
    Floats,
    blur,
    change_colour,
    per_row,
    put_rows,
    rescale,
    sharpen,
    take_rows,
)
from stage1_cnn.networks.devices import send

DRAWS = 128
"""Uniform numbers that one blend takes from its row at most."""
RATIOS = np.array([0.25, 0.5, 0.75, 1.0, 1.0, 1.0])
"""Share of the source within the mask."""
SHIFT = (0.03, 0.015)
"""Largest shift of the source, x and y, in sides of the image."""
SCALE = (0.95, 1 / 0.95)
RGB_SHIFT = 20.0
RGB_SHIFT_CHANCE = 0.3
COLOUR = (0.9, 1.1)
"""Factors of brightness and contrast as in the paper's code, and of saturation."""
HUE = 0.1
"""Radians. Hue and saturation are chosen here: the code's ±0.3 of 255 levels is next to none."""
COARSENESS = (0.3, 0.7)
SHARPNESS = (0.5, 2.0)
"""Factor of the resolution, and amount of `sharpen`. Chosen here, so that most blends are not seen
at first sight."""
EDGES = 10
"""Sides of a polygon at most: some of the drawn lines may pass it by."""
FIELD = 4
"""Points a side of the grid whose random shifts bend the mask."""
BEND = 0.05
"""Standard deviation of these shifts, in sides of the image."""
FACE_SHARE = 0.4
"""Added to a half axis of 0.3 … 0.7: within the box of a face it is 0.7 … 1.1 of the face's own."""
SEAM = (0.006, 0.035)
"""Standard deviation of the blur of the mask, in sides of the image: about what the box-like
kernels of 5 … 25 pixels in the paper's code do at 224 pixels."""


class UniformColumns:
    """Hands out the columns of uniform numbers `(b, k)` from left to right."""

    def __init__(self, uniform: Floats) -> None:
        self._uniform, self._next = uniform, 0

    def take(self, low: float, high: float, count: int = 1) -> Floats:
        """`(b, count)` between `low` and `high`."""
        first, self._next = self._next, self._next + count
        if self._next > self._uniform.shape[1]:
            raise ValueError(f"{self._next} columns are asked for, {self._uniform.shape[1]} drawn")
        return low + (high - low) * self._uniform[:, first : self._next]


def blend_with_self(
    planes: Tensor, uniform: Floats, faces: Floats | None = None
) -> tuple[Tensor, Tensor]:
    """Square planes `(b, 3, s, s)`, float32 of 0 … 255; `uniform` `(b, DRAWS)` within 0 … 1.

    `faces` `(b, 4)` are left, top, width and height of faces in sides; NaN where none is known.
    Returns the blended planes and the share of the source in each pixel, `(b, 1, s, s)`. Where it
    is 0 the planes are as they came, to the bit.
    """
    columns = UniformColumns(uniform)
    source = move(change_statistics(planes, columns), columns)
    share = draw_mask(columns, planes, faces)
    return planes + share * (source - planes), share


def change_statistics(planes: Tensor, columns: UniformColumns) -> Tensor:
    """Colours shifted, then either sharpened or made coarse."""
    shifted = columns.take(0, 1) < RGB_SHIFT_CHANCE
    shifts = columns.take(-RGB_SHIFT, RGB_SHIFT, 3) * shifted
    planes = planes + per_row(shifts, planes)
    planes = turn_hue(planes, columns.take(-HUE, HUE)[:, 0]).clamp_(0, 255)
    factors = columns.take(*COLOUR, 3)
    planes = change_colour(planes, *factors.T)
    amounts, factors = columns.take(*SHARPNESS)[:, 0], columns.take(*COARSENESS)[:, 0]
    coarse = columns.take(0, 1)[:, 0] < 0.5
    for rows, change, values in (
        (np.flatnonzero(coarse), rescale, factors),
        (np.flatnonzero(~coarse), sharpen, amounts),
    ):
        if len(rows):
            put_rows(planes, rows, change(take_rows(planes, rows), values[rows]))
    return planes


def turn_hue(planes: Tensor, angles: Floats) -> Tensor:
    """Colours turned about the grey axis by so many radians."""
    # Rodrigues' formula for the axis (1, 1, 1) / sqrt(3): the sum of the channels stays.
    cosines, sines = (per_row(f(angles)[:, None], planes) for f in (np.cos, np.sin))
    means = planes.mean(1, keepdim=True)
    crossed = (planes.roll(1, 1) - planes.roll(-1, 1)) / 3**0.5
    return means + (planes - means) * cosines + crossed * sines


def move(planes: Tensor, columns: UniformColumns) -> Tensor:
    """A little shifted and scaled about the centre; what comes in over the border is mirrored."""
    shift_x, shift_y = (columns.take(-2 * limit, 2 * limit)[:, 0] for limit in SHIFT)
    scale = 1 / columns.take(*SCALE)[:, 0]
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


def draw_mask(columns: UniformColumns, planes: Tensor, faces: Floats | None) -> Tensor:
    """`(b, 1, s, s)`, 0 … the blend ratio; exactly 0 a few widths of the seam from the shape."""
    side = planes.shape[2]
    x, y = _bend_places(columns, planes, faces)
    outline = torch.where(
        per_row(columns.take(0, 1)[:, 0], planes) < 0.5,
        torch.hypot(x, y),
        _measure_polygon(columns, x, y),
    )
    inside = (outline <= 1).to(planes.dtype)[:, None]
    sigmas = columns.take(*SEAM)[:, 0] * side
    ratios = RATIOS[columns.take(0, len(RATIOS)).astype(np.int64)]
    return blur(inside, sigmas, SEAM[1] * side).clamp_(0, 1) * per_row(ratios, planes)


def _bend_places(
    columns: UniformColumns, planes: Tensor, faces: Floats | None
) -> tuple[Tensor, Tensor]:
    """x and y `(b, s, s)` in which the outline is a unit circle, moved, stretched and bent."""
    count, side = len(planes), planes.shape[2]
    x, y = _list_places(planes)
    # A uniform number within ±sqrt(3) has the standard deviation 1; a side is 2 long.
    limit = 2 * BEND * 3**0.5
    shifts = columns.take(-limit, limit, 2 * FIELD**2).reshape(count, 2, FIELD, FIELD)
    field = send(np.ascontiguousarray(shifts), planes.device).to(planes.dtype)
    field = interpolate(field, (side, side), mode="bicubic", align_corners=True)
    centres, halves = _place_outline(columns, faces)
    x = (x + field[:, 0] - per_row(centres[:, 0], planes)) / per_row(halves[:, 0], planes)
    y = (y + field[:, 1] - per_row(centres[:, 1], planes)) / per_row(halves[:, 1], planes)
    return x, y


def _place_outline(columns: UniformColumns, faces: Floats | None) -> tuple[Floats, Floats]:
    """`(b, 2)` centres and half axes, x and y, of the outline; a side is 2 long."""
    shifts, sizes = columns.take(-0.15, 0.15, 2), columns.take(0.3, 0.7, 2)
    if faces is None:
        return shifts, sizes
    is_known = ~np.isnan(faces[:, :1])
    middles, halves = 2 * faces[:, :2] + faces[:, 2:] - 1, faces[:, 2:]
    centres = np.where(is_known, middles + shifts * halves, shifts)
    return centres, np.where(is_known, halves * (sizes + FACE_SHARE), sizes)


def _measure_polygon(columns: UniformColumns, x: Tensor, y: Tensor) -> Tensor:
    """`(b, s, s)`: at most 1 within a random convex polygon around 0, the cut of half-planes."""
    angles = 2 * np.pi * (np.arange(EDGES) + columns.take(0, 1, EDGES)) / EDGES
    distances = columns.take(0.7, 1.2, EDGES)
    result = torch.full_like(x, -torch.inf)
    for angle, distance in zip(angles.T, distances.T, strict=True):
        across, along = per_row(np.cos(angle) / distance, x), per_row(np.sin(angle) / distance, x)
        result = torch.maximum(result, x * across + y * along)
    return result
