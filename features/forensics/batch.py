"""A batch of pictures as the forensic features look at it: planes, noise, tiles.

What several families need is made once, on the first use.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Values = Mapping[str, npt.NDArray[np.floating]]
"""`(b,)` by column."""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Shares of red, green and blue in the luminance (ITU-R BT.601), as JPEG has it."""
TILES = 8
"""The picture is cut into so many tiles a side, where places are compared."""
TILE_COLUMNS = {
    "spread": "standard deviation over the tiles",
    "range": "from the sixth lowest tile to the sixth highest of 64",
    "beyond texture": "standard deviation of what the tiles' texture does not explain",
    "clustering": "Moran's I of that: whether tiles that differ are neighbours",
    "split": "Otsu's share of that explained by cutting the tiles in two",
}
"""What `describe_tiles` says of a logarithm by tile."""
_SMALL = 1e-6
"""A variance of logarithms below which tiles are alike."""


@dataclass(frozen=True)
class Batch:
    """Pictures `(b, s, s, 3)` uint8, s at least 16."""

    pixels: Pixels

    @cached_property
    def planes(self) -> Floats:
        """`(b, 3, s, s)`, 0 … 255."""
        return np.ascontiguousarray(self.pixels.transpose(0, 3, 1, 2)).astype(np.float32)

    @cached_property
    def luma(self) -> Floats:
        """`(b, s, s)`, 0 … 255."""
        return mix_luma(self.planes)

    @cached_property
    def noise(self) -> Floats:
        """`(b, 3, s - 2, s - 2)`: second difference down and across, which shows little but noise.

        The 3 x 3 "square" of Fridrich & Kodovsky 2012 and the operator of Immerkær 1996.
        """
        return np.asarray(np.diff(np.diff(self.planes, 2, axis=3), 2, axis=2), np.float32)

    @cached_property
    def luma_noise(self) -> Floats:
        """`(b, s - 2, s - 2)`: the same of the luminance."""
        return mix_luma(self.noise)

    @cached_property
    def tile_noise(self) -> Floats:
        """`(b, 8, 8)`: mean size of `luma_noise`, grey levels."""
        return average_tiles(np.abs(self.luma_noise))

    @cached_property
    def tile_texture(self) -> Floats:
        """`(b, 8, 8)`: mean size of the luminance's first differences, grey levels."""
        steps: Floats = np.abs(np.diff(self.luma, axis=2)[:, 1:])
        steps += np.abs(np.diff(self.luma, axis=1)[:, :, 1:])
        steps /= 2
        return average_tiles(steps)


def mix_luma(planes: Floats) -> Floats:
    """`(b, 3, h, w)` to `(b, h, w)`."""
    luma: Floats = planes[:, 0] * LUMA[0]
    luma += planes[:, 1] * LUMA[1]
    luma += planes[:, 2] * LUMA[2]
    return luma


def average_tiles(maps: Floats, tiles: int = TILES) -> Floats:
    """Means `(b, tiles, tiles)` of maps `(b, h, w)`; sides may differ by a pixel."""
    height, width = maps.shape[1:]
    rows, columns = (np.linspace(0, n, tiles + 1).astype(int) for n in (height, width))
    sums = np.add.reduceat(np.add.reduceat(maps, columns[:-1], axis=2), rows[:-1], axis=1)
    return np.asarray(sums / np.outer(np.diff(rows), np.diff(columns)), np.float32)


def describe_tiles(levels: Floats, textures: Floats) -> Values:
    """Whether `levels` `(b, 8, 8)` are the same all over the picture: see `TILE_COLUMNS`.

    Both are logarithms. Texture hides noise and errors grow with it, so what a straight line on it
    explains is taken off: a region with another history stands out of the rest. Sources: tiles of
    unlike noise, Mahdian & Saic 2009; clustering, Moran 1950; split, Otsu 1979.
    """
    flat, texture = (x.reshape(len(x), -1).astype(np.float64) for x in (levels, textures))
    ordered = np.sort(flat, axis=1)
    rest = remove_line(flat, texture)
    variance = rest.var(axis=1) + _SMALL
    grid = rest.reshape(levels.shape)
    beside = (grid[:, 1:] * grid[:, :-1]).mean(axis=(1, 2))
    beside += (grid[:, :, 1:] * grid[:, :, :-1]).mean(axis=(1, 2))
    return {
        "spread": flat.std(axis=1),
        "range": ordered[:, -6] - ordered[:, 5],
        "beyond texture": rest.std(axis=1),
        "clustering": beside / 2 / variance,
        "split": split_in_two(rest) / variance,
    }


def remove_line(
    values: npt.NDArray[np.float64], drivers: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """`values` `(b, n)` less their least-squares line on `drivers` `(b, n)`; mean 0."""
    centred = values - values.mean(axis=1, keepdims=True)
    x = drivers - drivers.mean(axis=1, keepdims=True)
    slope = (x * centred).mean(axis=1, keepdims=True) / (x.var(axis=1, keepdims=True) + _SMALL)
    return np.asarray(centred - slope * x)


def split_in_two(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """`(b,)` variance between the two parts that `values` `(b, n)` are best cut into (Otsu 1979).

    Each part has four values at least.
    """
    n = values.shape[1]
    sizes = np.arange(4, n - 3)
    lower = np.cumsum(np.sort(values, axis=1), axis=1)
    below = lower[:, sizes - 1]
    gaps = below / sizes - (lower[:, -1:] - below) / (n - sizes)
    return np.asarray((gaps**2 * sizes * (n - sizes) / n**2).max(axis=1))
