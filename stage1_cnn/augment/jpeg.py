"""Batches of images saved as JPEG and read again, on their device, to the bit as libjpeg does it.

libjpeg's default codec (`jfdctint.c`, `jidctint.c`, `jccolor.c`, `jcsample.c`, `jdsample.c`)
works in integers. Its transforms are integer matrices followed by a rounding shift, and float64
holds all sums exactly, so plain matrix products give its results on any device, whatever the batch.
Entropy coding loses nothing and is left out.
"""

import functools

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import pad

from stage1_cnn.augment.distortions import put_rows, take_rows
from stage1_cnn.networks.devices import send

_TABLES = torch.tensor(
    [
        [
            [16, 11, 10, 16, 24, 40, 51, 61],
            [12, 12, 14, 19, 26, 58, 60, 55],
            [14, 13, 16, 24, 40, 57, 69, 56],
            [14, 17, 22, 29, 51, 87, 80, 62],
            [18, 22, 37, 56, 68, 109, 103, 77],
            [24, 35, 55, 64, 81, 104, 113, 92],
            [49, 64, 78, 87, 103, 121, 120, 101],
            [72, 92, 95, 98, 112, 100, 103, 99],
        ],
        [
            [17, 18, 24, 47, 99, 99, 99, 99],
            [18, 21, 26, 66, 99, 99, 99, 99],
            [24, 26, 56, 99, 99, 99, 99, 99],
            [47, 66, 99, 99, 99, 99, 99, 99],
            *[[99] * 8] * 4,
        ],
    ]
)
"""Luminance and chrominance `(2, 8, 8)`: ITU-T T.81, Annex K.1."""
_HALF_DCT = torch.tensor(
    [
        [8192, 8192, 8192, 8192],
        [11363, 9633, 6437, 2260],
        [10703, 4433, -4433, -10703],
        [9633, -2259, -11362, -6436],
        [8192, -8192, -8192, 8192],
        [6437, -11362, 2261, 9633],
        [4433, -10704, 10704, -4433],
        [2260, -6436, 9633, -11363],
    ],
    dtype=torch.float64,
)
"""`(8, 4)`: what the additions and 13-bit constants of `jfdctint.c` multiply the first half of a
line of 8 by. The other half mirrors it, with the opposite sign in odd lines."""
_DCT = torch.cat([_HALF_DCT, _HALF_DCT.flip(1)], dim=1)
_DCT[1::2, 4:] *= -1
_TO_YCC = torch.tensor(
    [[19595, 38470, 7471], [-11059, -21709, 32768], [32768, -27439, -5329]], dtype=torch.float64
)
TOGETHER = 64
"""Images at a time on a GPU: at 256 px they take 0.6 GB for a while. On a CPU one at a time stays
in the cache: 3 times as fast as all together."""
_BITS = 65536.0
"""Colours are converted with 16 fractional bits."""


def compress(
    images: Tensor, qualities: npt.NDArray[np.int64], halved: npt.NDArray[np.bool_]
) -> Tensor:
    """What is read back of `images`, uint8 `(b, h, w, 3)`, sides of at least 5, saved as JPEG.

    `qualities` `(b,)`, 1 … 100, are those of libjpeg and Pillow; where `halved` `(b,)` chroma has
    half the resolution (4:2:0), else the full one (4:4:4).
    """
    result = torch.empty_like(images)
    tables = send(scale_tables(qualities), images.device)
    for half in (False, True):
        chosen = np.flatnonzero(halved == half)
        size = 1 if images.device.type == "cpu" else TOGETHER
        for part in np.split(chosen, range(size, len(chosen), size)) if len(chosen) else ():
            changed = _compress_alike(take_rows(images, part), take_rows(tables, part), half)
            put_rows(result, part, changed)
    return result


def scale_tables(qualities: npt.NDArray[np.int64]) -> Tensor:
    """Quantisation tables, float64 `(b, 2, 8, 8)`, as `jpeg_set_quality` of libjpeg makes them."""
    percent = np.where(qualities < 50, 5000 // qualities, 200 - 2 * qualities)
    scaled = (_TABLES * torch.from_numpy(percent)[:, None, None, None] + 50) // 100
    return scaled.clamp(1, 255).double()


def _compress_alike(images: Tensor, tables: Tensor, half: bool) -> Tensor:
    """`compress` for images `(b, h, w, 3)` of one chroma resolution."""
    height, width = images.shape[1:3]
    luma, chroma = _to_ycc(images)
    luma = _code(luma, tables[:, :1])
    if half:
        chroma = _code(_halve(chroma), tables[:, 1:])
        chroma = chroma[:, :, : -(-height // 2), : -(-width // 2)]
        chroma = _double(chroma)[:, :, :height, :width]
    else:
        chroma = _code(chroma, tables[:, 1:])
    return _to_rgb(luma, chroma)


@functools.cache
def _place(device: torch.device) -> tuple[Tensor, Tensor]:
    """`_DCT` and `_TO_YCC` on the device."""
    return _DCT.to(device), _TO_YCC.to(device)


def _to_ycc(images: Tensor) -> tuple[Tensor, Tensor]:
    planes = images.permute(0, 3, 1, 2).double().flatten(2)
    ycc = (_place(images.device)[1] / _BITS) @ planes
    ycc[:, :1] += 0.5
    ycc[:, 1:] += 128 + (0.5 - 1 / _BITS)
    luma, chroma = ycc.floor_().unflatten(2, images.shape[1:3]).split([1, 2], dim=1)
    return luma, chroma


def _to_rgb(luma: Tensor, chroma: Tensor) -> Tensor:
    blue, red = (chroma - 128).unbind(1)
    rgb = luma.repeat(1, 3, 1, 1)
    rgb[:, 0] += (red * (91881 / _BITS) + 0.5).floor_()
    rgb[:, 1] += (blue * (-22554 / _BITS) - red * (46802 / _BITS) + 0.5).floor_()
    rgb[:, 2] += (blue * (116130 / _BITS) + 0.5).floor_()
    return rgb.clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def _code(planes: Tensor, tables: Tensor) -> Tensor:
    """Planes `(b, c, h, w)` through DCT, quantisation `(b, 1, 8, 8)` and back again."""
    height, width = planes.shape[2:]
    padded = pad(planes, (0, -width % 8, 0, -height % 8), mode="replicate")
    dct, _ = _place(planes.device)
    lines, columns = padded.shape[2] // 8, padded.shape[3] // 8
    steps = tables.repeat(1, 1, lines, columns)
    # The shifts and the order of lines and columns are those of the two C files.
    waves = _transform_columns(_transform_lines(padded - 128, dct, 11), dct, 15)
    levels = waves.abs().div_(8 * steps).add_(0.5).floor_().copysign_(waves)
    waves = levels.mul_(steps)
    coded = _transform_lines(_transform_columns(waves, dct.T, 11), dct.T, 18)
    return coded.add_(128).clamp_(0, 255)[:, :, :height, :width]


def _transform_lines(planes: Tensor, matrix: Tensor, shift: int) -> Tensor:
    """`matrix` `(8, 8)` on each 8 neighbours of a line, then a rounding shift to the right."""
    products = planes.reshape(-1, 8) @ (matrix.T * 0.5**shift)
    return products.add_(0.5).floor_().view(planes.shape)


def _transform_columns(planes: Tensor, matrix: Tensor, shift: int) -> Tensor:
    """The same on each 8 neighbours of a column."""
    products = (matrix * 0.5**shift) @ planes.reshape(-1, 8, planes.shape[3])
    return products.add_(0.5).floor_().view(planes.shape)


def _halve(chroma: Tensor) -> Tensor:
    """Means of 2 × 2 pixels, `h2v2_downsample`: halves are rounded down and up in turn."""
    height, width = chroma.shape[2:]
    # Lines are extended before they are halved, columns after it.
    padded = pad(chroma, (0, -width % 16, 0, height % 2), mode="replicate")
    sums = padded[:, :, ::2] + padded[:, :, 1::2]
    sums = sums[..., ::2] + sums[..., 1::2]
    sums[..., ::2] += 1
    sums[..., 1::2] += 2
    return sums.div_(4).floor_()


def _double(chroma: Tensor) -> Tensor:
    """Twice the sides by a triangle filter, `h2v2_fancy_upsample`."""
    padded = pad(chroma, (1, 1, 1, 1), mode="replicate")
    near = 3 * padded[:, :, 1:-1]
    sums = torch.stack([near + padded[:, :, :-2], near + padded[:, :, 2:]], dim=3).flatten(2, 3)
    near = 3 * sums[..., 1:-1]
    left, right = near + sums[..., :-2] + 8, near + sums[..., 2:] + 7
    return torch.stack([left, right], dim=4).flatten(3, 4).div_(16).floor_()
