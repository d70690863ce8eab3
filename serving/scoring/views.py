"""Views of each square (test-time augmentation): those of `stage1_cnn.scoring.views` in torch."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from features.settings.scoring import Tta

Squares = npt.NDArray[np.uint8]
"""`(n, s, s, 3)`."""
_HEIGHT, _WIDTH = 1, 2


def _turn(quarters: int) -> Callable[[Squares], Squares]:
    """Turned counter-clockwise."""
    return lambda squares: np.rot90(squares, quarters, (_HEIGHT, _WIDTH))


SQUARE_VIEWS: dict[Tta, tuple[Callable[[Squares], Squares], ...]] = {
    "none": (lambda squares: squares,),
    "hflip": (lambda squares: squares, lambda squares: np.flip(squares, _WIDTH)),
    "six": (
        lambda squares: squares,
        lambda squares: np.flip(squares, _WIDTH),
        lambda squares: np.flip(squares, _HEIGHT),
        *(_turn(quarters) for quarters in (1, 2, 3)),
    ),
}
