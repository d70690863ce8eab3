"""Single operations on batches of images, each row with its own strength.

Images are uint8 `(b, h, w, 3)`, planes float32 `(b, c, h, w)` in grey levels 0 … 255. Strengths are
NumPy arrays `(b,)`, drawn on the host. A row's result does not depend on the rows beside it; on a
GPU that of `crop` and `rescale` does not beyond rounding.
"""

import functools

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtri
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad

from stage1_cnn.networks.devices import send

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

GREY = 128
_LUMA = (0.299, 0.587, 0.114)
"""Weights of the channels in a grey picture, ITU-R BT.601."""
_BLUR_REACH = 4
"""A Gaussian ends at so many standard deviations, as in `scipy.ndimage.gaussian_filter`."""


def to_planes(images: Tensor) -> Tensor:
    """Pixels as float32 planes, a copy."""
    return images.permute(0, 3, 1, 2).float().contiguous()


def to_pixels(planes: Tensor) -> Tensor:
    """Planes clamped and rounded to uint8 images; `planes` may be changed."""
    return planes.clamp_(0, 255).round_().to(torch.uint8).permute(0, 2, 3, 1)


def per_row(values: Floats, like: Tensor) -> Tensor:
    """`(b, …)` on the device and of the type of `like`, with axes for height and width added."""
    return send(np.ascontiguousarray(values), like.device).to(like.dtype)[..., None, None]


def take_rows(tensor: Tensor, rows: Ints) -> Tensor:
    """A copy of these rows."""
    return tensor.index_select(0, send(rows, tensor.device))


def put_rows(tensor: Tensor, rows: Ints, values: Tensor) -> None:
    """Writes `values` into these rows of `tensor`."""
    if tensor.device.type != "cpu":
        tensor.index_copy_(0, send(rows, tensor.device), values)
        return
    # On a CPU a copy for each row takes a tenth of the time of one indexed assignment.
    for row, value in zip(rows.tolist(), values, strict=True):
        tensor[row] = value


def mirror(images: Tensor) -> Tensor:
    """Left to right."""
    return images.flip(2)


def turn_upside_down(images: Tensor) -> Tensor:
    """Top to bottom."""
    return images.flip(1)


def turn(images: Tensor, quarters: Ints) -> Tensor:
    """Square images turned anticlockwise by so many quarters."""
    result = images.clone()
    for count in (1, 2, 3):
        rows = np.flatnonzero(quarters % 4 == count)
        put_rows(result, rows, take_rows(images, rows).rot90(count, (1, 2)))
    return result


def crop(images: Tensor, boxes: Ints, size: int) -> Tensor:
    """Boxes `(b, 4)` of top, left, height and width, resized to `(b, size, size, 3)`.

    As `resize` does it; off the CPU to within its rounding.
    """
    if images.device.type != "cpu":
        return to_pixels(_resize_boxes(to_planes(images), boxes, size))
    result = images.new_empty(len(images), size, size, 3)
    for row, (top, left, height, width) in enumerate(boxes.tolist()):
        box = images[row : row + 1, top : top + height, left : left + width]
        result[row : row + 1] = to_pixels(resize(to_planes(box), size))
    return result


def resize(planes: Tensor, size: int) -> Tensor:
    """Bilinear, antialiased where it gets smaller."""
    shape = (size, size)
    return interpolate(planes, shape, mode="bilinear", align_corners=False, antialias=True)


def _resize_boxes(planes: Tensor, boxes: Ints, size: int) -> Tensor:
    """`crop` of planes: two products a row, all rows at once, where a kernel a row would starve
    a GPU.
    """
    tops, lefts, heights, widths = per_row(boxes.T.astype(np.float64), planes)
    sizes = torch.full_like(heights, size)
    lines = _weigh_places(tops, heights, sizes, planes.shape[2], size)
    columns = _weigh_places(lefts, widths, sizes, planes.shape[3], size)
    return lines[:, None] @ planes @ columns.mT[:, None]


def _rescale_by_products(planes: Tensor, sizes: Ints) -> Tensor:
    """`rescale` to squares of these sides and back: one product for both, by lines and columns."""
    side, small = planes.shape[2], per_row(sizes.astype(np.float64), planes)
    start, large = torch.zeros_like(small), torch.full_like(small, side)
    smaller = _weigh_places(start, large, small, side, side)
    larger = _weigh_places(start, small, large, side, side)
    both = (larger @ smaller)[:, None]
    return both @ planes @ both.mT


def _weigh_places(first: Tensor, length: Tensor, size: Tensor, places: int, count: int) -> Tensor:
    """What each of `places` pixels of a line counts in each of `count` pixels of another.

    `(b, count, places)`: pixels `first` … `first + length - 1` become the first `size` ones, the
    other weights are 0; these three are `(b, 1, 1)`. The triangle of PyTorch's antialiased
    bilinear kernel (`aten/native/cpu/UpSampleKernel.cpp`).
    """
    scale = length / size
    pixels = torch.arange(count, device=first.device)[:, None]
    centres = (pixels + 0.5) * scale + first
    centre_of = torch.arange(places, device=first.device) + 0.5
    reach = scale.clamp(min=1)
    weights = (1 - (centre_of - centres).abs() / reach).clamp(min=0)
    weights *= (centre_of > first) & (centre_of < first + length) & (pixels < size)
    return weights / weights.sum(2, keepdim=True).clamp(min=1e-30)


def change_colour(
    planes: Tensor, brightness: Floats, contrast: Floats, saturation: Floats
) -> Tensor:
    """Each a factor, 1 for no change; in torchvision's sense of the words and in this order."""
    planes = (planes * per_row(brightness[:, None], planes)).clamp_(0, 255)
    # float64, because the order of a sum may depend on the number of rows.
    means = mix_grey(planes).mean((2, 3), dtype=torch.float64, keepdim=True).float()
    planes = torch.lerp(means, planes, per_row(contrast[:, None], planes)).clamp_(0, 255)
    return torch.lerp(mix_grey(planes), planes, per_row(saturation[:, None], planes)).clamp_(0, 255)


def mix_grey(planes: Tensor) -> Tensor:
    """`(b, 1, h, w)`."""
    red, green, blue = planes.unbind(1)
    return (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue)[:, None]


def rescale(planes: Tensor, factors: Floats) -> Tensor:
    """Square planes made smaller by a factor of 0 … 1, and large again.

    As `resize` does it; off the CPU to within its rounding.
    """
    sizes = np.maximum(1, np.rint(factors * planes.shape[2])).astype(np.int64)
    if planes.device.type != "cpu":
        return _rescale_by_products(planes, sizes)
    result = torch.empty_like(planes)
    for row, size in enumerate(sizes.tolist()):
        result[row : row + 1] = resize(resize(planes[row : row + 1], size), planes.shape[2])
    return result


def blur(planes: Tensor, sigmas: Floats, widest: float) -> Tensor:
    """Gaussian, with reflected borders.

    Sigmas in pixels, at most `widest`: the radius follows from that, not from the batch.
    """
    height, width = planes.shape[2:]
    radius = min(int(_BLUR_REACH * widest + 0.5), height - 1, width - 1)
    kernels = send(_build_kernels(sigmas, radius), planes.device).to(planes.dtype)
    kernels = kernels.repeat_interleave(planes.shape[1], dim=0)[:, None]
    # A group per plane: one convolution for kernels that differ from row to row.
    stacked = pad(planes, (radius,) * 4, mode="reflect").flatten(0, 1)[None]
    if len(kernels) == 1:  # one group alone is computed by other code, which rounds its own way
        kernels, stacked = kernels.repeat(2, 1, 1), stacked.repeat(1, 2, 1, 1)
    stacked = conv2d(stacked, kernels[:, :, None, :], groups=len(kernels))
    stacked = conv2d(stacked, kernels[:, :, :, None], groups=len(kernels))
    return stacked[:, : planes.shape[0] * planes.shape[1]].view(planes.shape)


def _build_kernels(sigmas: Floats, radius: int) -> Floats:
    """`(b, 2 radius + 1)`, each with the sum 1."""
    distances = np.arange(-radius, radius + 1)
    scaled = distances / sigmas[:, None]
    values = np.where(np.abs(scaled) <= _BLUR_REACH + 0.5, np.exp(-(scaled**2) / 2), 0)
    return values / values.sum(1, keepdims=True)


def sharpen(planes: Tensor, amounts: Floats) -> Tensor:
    """Unsharp masking: adds so much of what a blur of 1 pixel takes away."""
    soft = blur(planes, np.ones(len(planes)), 1.0)
    return (planes + (planes - soft) * per_row(amounts[:, None], planes)).clamp_(0, 255)


def add_noise(planes: Tensor, stds: Floats, keys: Ints) -> Tensor:
    """Independent normal noise of each pixel and channel; `stds` in grey levels.

    `keys` `(b,)`, 0 … 2^32 - 1: the noise of a row is a function of its key and of the place.
    """
    noise = draw_normals(keys, planes[0].numel(), planes.device).view(planes.shape)
    return planes + noise * per_row(stds[:, None], planes)


def draw_normals(keys: Ints, count: int, device: torch.device) -> Tensor:
    """Standard normal deviates `(b, count)`, float32, the same on every device."""
    places = _scramble(torch.arange((count + 1) // 2, dtype=torch.int32, device=device))
    seeds = send(keys.astype(np.uint32).view(np.int32), device)
    words = _scramble(places ^ seeds[:, None])
    halves = torch.stack([words & 0xFFFF, (words >> 16) & 0xFFFF], dim=2)
    return (
        _tabulate_normals(device).index_select(0, halves.flatten()).view(len(keys), -1)[:, :count]
    )


def _scramble(words: Tensor) -> Tensor:
    """A bijection of 32-bit integers in which each bit depends on all (lowbias32, C. Wellons)."""
    words = words ^ ((words >> 16) & 0xFFFF)  # the masks make the shift of signed integers logical
    words *= 0x7FEB352D
    words ^= (words >> 15) & 0x1FFFF
    words *= 0x846CA68B - (1 << 32)
    return words.bitwise_xor_((words >> 16) & 0xFFFF)


@functools.cache
def _tabulate_normals(device: torch.device) -> Tensor:
    """Normal deviates of 2^16 even probabilities: a look-up is exact where a logarithm is not."""
    probabilities = (np.arange(1 << 16) + 0.5) / (1 << 16)
    return torch.from_numpy(ndtri(probabilities).astype(np.float32)).to(device)


def cut_out(images: Tensor, boxes: Ints) -> Tensor:
    """Boxes `(b, 4)` of top, left, height and width turned grey."""
    tops, lefts, heights, widths = send(boxes, images.device)[:, :, None].unbind(1)
    lines = torch.arange(images.shape[1], device=images.device)
    columns = torch.arange(images.shape[2], device=images.device)
    inside_y = (lines >= tops) & (lines < tops + heights)
    inside_x = (columns >= lefts) & (columns < lefts + widths)
    inside = inside_y[:, :, None] & inside_x[:, None, :]
    return images.masked_fill(inside[..., None], GREY)
