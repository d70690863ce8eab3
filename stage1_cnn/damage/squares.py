"""Batches of squares under the web's damage, as `augment.web` asks for it."""

from concurrent.futures import ThreadPoolExecutor

from features.pixels.kernels import find_kernels
from features.runtime.memory import count_workers
from stage1_cnn.damage.chains import damage_picture
from stage1_cnn.damage.steps import Pixels


class SquareDamage:
    """What a chain makes of each square, resized to a square again; a function of seed and draw.

    Threads share the squares of a batch: codecs and kernels let each other work.
    """

    def __init__(self, chance: float, seed: int) -> None:
        self.chance, self.seed = chance, seed
        self._threads = ThreadPoolExecutor(count_workers()) if chance else None

    def apply(self, squares: Pixels, first_draw: int) -> None:
        """Changes uint8 `(b, s, s, 3)` in place; the first one is draw `first_draw`."""
        if self._threads is None:
            return
        places = range(len(squares))
        changed = self._threads.map(
            lambda place: self._damage(squares[place], first_draw + place), places
        )
        for place, square in zip(places, changed, strict=True):
            squares[place] = square

    def _damage(self, square: Pixels, draw: int) -> Pixels:
        damaged = damage_picture(square, self.seed, draw, self.chance)
        size = len(square)
        return (
            damaged if damaged.shape == square.shape else find_kernels().resize(damaged, size, size)
        )
