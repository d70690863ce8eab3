"""Several views of each image, scored and averaged (test-time augmentation).

log_odds, embeddings = view_images(engine, "hflip")(pixels)
"""

from collections.abc import Callable

import torch
from torch import Tensor

from features.settings.scoring import Tta
from stage1_cnn.networks.normalise import resize_pixels
from stage1_cnn.scoring.engines import Engine, Scores

View = Callable[[Tensor], Tensor]
"""Pixels `(b, s, s, 3)` to as many others."""
_HEIGHT, _WIDTH = 1, 2


def _turn(quarters: int) -> View:
    """Turned counter-clockwise."""
    return lambda pixels: torch.rot90(pixels, quarters, (_HEIGHT, _WIDTH))


VIEWS: dict[Tta, tuple[View, ...]] = {
    "none": (lambda pixels: pixels,),
    "hflip": (lambda pixels: pixels, lambda pixels: pixels.flip(_WIDTH)),
    "six": (
        lambda pixels: pixels,
        lambda pixels: pixels.flip(_WIDTH),
        lambda pixels: pixels.flip(_HEIGHT),
        *(_turn(quarters) for quarters in (1, 2, 3)),
    ),
}


def view_images(engine: Engine, tta: Tta) -> Engine:
    """An engine whose log-odds and embeddings are the mean over the views of each image."""
    return engine if tta == "none" else _ViewEngine(engine, VIEWS[tta])


class _ViewEngine:
    def __init__(self, engine: Engine, views: tuple[View, ...]) -> None:
        self._engine, self._views = engine, views
        self.device, self.side, self.name = engine.device, engine.side, engine.name

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> Scores:
        pixels = resize_pixels(pixels, self.side)  # once for all views
        scores = [self._engine(view(pixels)) for view in self._views]
        log_odds, embeddings = (torch.stack(part).mean(0) for part in zip(*scores, strict=True))
        return log_odds, embeddings
