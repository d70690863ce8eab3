"""What becomes a graph: a network with all that happens to pixels before it."""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from stage1_cnn.networks.network import embed
from stage1_cnn.networks.normalise import Normaliser, build_input
from stage1_cnn.scoring.engines import Scores


class PixelGraph(nn.Module):
    """Pixels `(b, s, s, 3)` to scores. As `Normaliser`, but without the shape of a batch.

    `resized_from`: the side s of the pixels, where they are to be resized; else they come as the
    network sees them.
    """

    pixel_mean: Tensor
    pixel_std: Tensor
    resizing: Tensor | None

    def __init__(
        self, network: nn.Module, normalise: Normaliser, resized_from: int | None = None
    ) -> None:
        super().__init__()
        self.network, self.input = network, normalise.input
        mean, std = normalise.grey_levels
        self.register_buffer("pixel_mean", mean[:, None, None])
        self.register_buffer("pixel_std", std[:, None, None])
        resizing = None
        if resized_from is not None and resized_from != normalise.size:
            resizing = build_resizing(resized_from, normalise.size)
        self.register_buffer("resizing", resizing)

    def forward(self, pixels: Tensor) -> Scores:
        # Turned as bytes, then plane by plane: 8,900 images a second instead of 360.
        planes = pixels.permute(0, 3, 1, 2).to(torch.float32)
        if self.resizing is not None:
            planes = self.resizing @ (planes @ self.resizing.T)
        images = build_input(
            self.input, planes, lambda: (planes - self.pixel_mean) / self.pixel_std
        )
        embeddings, log_odds = embed(self.network, images)
        return log_odds, embeddings


def build_resizing(old: int, new: int) -> Tensor:
    """`(new, old)`: what `resize_pixels` does to a line of pixels, as a matrix.

    ONNX has an antialiased resizing too, but with weights of its own.
    """
    lines = torch.eye(old)[None, None]
    return interpolate(lines, (new, old), mode="bilinear", antialias=True)[0, 0]
