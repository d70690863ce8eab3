"""Random changes of whole batches on their device, a pure function of seed and draw.

Draw j is the j-th image that a training takes from its sampler. Every operation has a stream of
random numbers of its own, in which draw j owns a row at a fixed place: batches, processes and
devices may share the draws out as they like, and an operation that is switched on leaves the
numbers of the others alone.

images, labels = Augmenter(settings.augment, size=224, seed=0)(images, labels, first_draw=0)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from features.settings.learning import Augment
from stage1_cnn.augment import distortions, jpeg, self_blend
from stage1_cnn.augment.distortions import Floats, Ints, put_rows, take_rows, to_pixels, to_planes

CROP_ASPECT = 4 / 3
CUTOUT_ASPECT = 2.0
"""Longest box, width to height or height to width."""
_CROP_STREAM, _BLEND_STREAM = 0, 1


@dataclass(frozen=True)
class Operation:
    """A change of some rows.

    `name` is the field of `Augment` that holds its chance. `apply` takes the chosen rows, uniform
    numbers `(b, width)` and the settings. `stream` is never given to another operation.
    """

    name: str
    stream: int
    width: int
    apply: Callable[[Tensor, Floats, Augment], Tensor]


def draw_uniform(seed: int, stream: int, first: int, count: int, width: int) -> Floats:
    """Rows `first` … `first + count - 1`, `(count, width)` within 0 … 1, of an endless table."""
    blocks = -(-width // 4)  # Philox gives four numbers for each value of its counter
    bits = np.random.Philox(key=np.array([seed, stream], np.uint64)).advance(first * blocks)
    return np.random.Generator(bits).random((count, 4 * blocks))[:, :width]


def spread(uniform: Floats, bounds: tuple[float, float]) -> Floats:
    """Numbers of 0 … 1 evenly over the range."""
    return bounds[0] + (bounds[1] - bounds[0]) * uniform


def draw_boxes(uniform: Floats, areas: Floats, aspect: float, side: int) -> Ints:
    """Boxes `(b, 4)` of top, left, height and width within a square of `side` pixels.

    `areas` `(b,)` are shares of the square. The aspect ratio is even in its logarithm up to
    `aspect` and 1 / `aspect`, or as far as the box fits. `uniform` is `(b, 3)`.
    """
    limit = np.minimum(np.log(aspect), -np.log(areas))
    half = np.exp(spread(uniform[:, 0], (-1, 1)) * limit / 2)
    sizes = np.sqrt(areas)[:, None] * np.stack([1 / half, half], 1)
    sizes = np.clip(np.rint(sizes * side).astype(np.int64), 1, side)
    corners = np.floor(uniform[:, 1:3] * (side - sizes + 1)).astype(np.int64)
    return np.concatenate([corners, sizes], 1)


def _mirror(images: Tensor, uniform: Floats, augment: Augment) -> Tensor:
    return distortions.mirror(images)


def _turn_upside_down(images: Tensor, uniform: Floats, augment: Augment) -> Tensor:
    return distortions.turn_upside_down(images)


def _turn(images: Tensor, uniform: Floats, augment: Augment) -> Tensor:
    return distortions.turn(images, 1 + (3 * uniform[:, 0]).astype(np.int64))


def _change_colour(planes: Tensor, uniform: Floats, augment: Augment) -> Tensor:
    strength = augment.colour_strength
    return distortions.change_colour(planes, *spread(uniform, (1 - strength, 1 + strength)).T)


def _rescale(planes: Tensor, uniform: Floats, augment: Augment) -> Tensor:
    return distortions.rescale(planes, spread(uniform[:, 0], augment.rescale_factor))


def _blur(planes: Tensor, uniform: Floats, augment: Augment) -> Tensor:
    bounds = augment.blur_sigma
    return distortions.blur(planes, spread(uniform[:, 0], bounds), bounds[1])


def _add_noise(planes: Tensor, uniform: Floats, augment: Augment) -> Tensor:
    keys = (uniform[:, 1] * (1 << 32)).astype(np.int64)
    return distortions.add_noise(planes, spread(uniform[:, 0], augment.noise_std), keys)


def _compress(images: Tensor, uniform: Floats, augment: Augment) -> Tensor:
    qualities = np.rint(spread(uniform[:, 0], augment.jpeg_quality)).astype(np.int64)
    return jpeg.compress(images, qualities, uniform[:, 1] < 0.5)


def _cut_out(images: Tensor, uniform: Floats, augment: Augment) -> Tensor:
    areas = spread(uniform[:, 0], augment.cutout_area)
    boxes = draw_boxes(uniform[:, 1:], areas, CUTOUT_ASPECT, images.shape[1])
    return distortions.cut_out(images, boxes)


TURNS = (
    Operation("hflip", 2, 0, _mirror),
    Operation("vflip", 3, 0, _turn_upside_down),
    Operation("rotate90", 4, 1, _turn),
)
"""On pixels."""
SIGNALS = (
    Operation("colour", 5, 3, _change_colour),
    Operation("rescale", 6, 1, _rescale),
    Operation("blur", 7, 1, _blur),
    Operation("noise", 8, 2, _add_noise),
)
"""On planes, which are rounded once after all of these."""
FILES = (
    Operation("jpeg", 9, 2, _compress),
    Operation("cutout", 10, 4, _cut_out),
)
"""On pixels."""


class Augmenter:
    """All random changes of single images that `augment` asks for, in its order.

    `size` is the side that the network sees; crops are resized to it. Equal seeds give equal
    changes of equal draws.
    """

    def __init__(self, augment: Augment, size: int, seed: int) -> None:
        self.augment, self.size, self.seed = augment, size, seed

    def __call__(
        self, images: Tensor, labels: Ints, first_draw: int, faces: Floats | None = None
    ) -> tuple[Tensor, Ints]:
        """Images uint8 `(b, s, s, 3)`, s at least `size`, on any device; labels `(b,)` on the host.

        `first_draw` is the place of the first row in the sequence of all draws, `faces` `(b, 4)` as
        `blend_with_self` takes them. Returns uint8 `(b, s, s, 3)`, or `(b, size, size, 3)` with
        crops, and labels, 1 where a real was blended with itself. `images` may be changed in place.
        """
        images, labels = self._blend_reals(images, labels, first_draw, faces)
        if self.augment.crop_min_area < 1:
            images = self._crop(images, first_draw)
        self._change(images, TURNS, first_draw)
        self._change_signals(images, first_draw)
        self._change(images, FILES, first_draw)
        return images, labels

    def _blend_reals(
        self, images: Tensor, labels: Ints, first_draw: int, faces: Floats | None
    ) -> tuple[Tensor, Ints]:
        if not self.augment.self_blend:
            return images, labels
        uniform = self._draw(_BLEND_STREAM, first_draw, len(images), 1 + self_blend.DRAWS)
        chosen = np.flatnonzero((labels == 0) & (uniform[:, 0] < self.augment.self_blend))
        if len(chosen):
            planes = to_planes(take_rows(images, chosen))
            own = None if faces is None else faces[chosen]
            blended, _ = self_blend.blend_with_self(planes, uniform[chosen, 1:], own)
            put_rows(images, chosen, to_pixels(blended))
            labels = labels.copy()
            labels[chosen] = 1
        return images, labels

    def _crop(self, images: Tensor, first_draw: int) -> Tensor:
        uniform = self._draw(_CROP_STREAM, first_draw, len(images), 4)
        areas = spread(uniform[:, 0], (self.augment.crop_min_area, 1))
        boxes = draw_boxes(uniform[:, 1:], areas, CROP_ASPECT, images.shape[1])
        return distortions.crop(images, boxes, self.size)

    def _change(self, images: Tensor, operations: Sequence[Operation], first_draw: int) -> None:
        """Applies `operations` in place."""
        for operation in operations:
            uniform, chosen = self._choose(operation, first_draw, len(images))
            rows = np.flatnonzero(chosen)
            if len(rows):
                changed = operation.apply(take_rows(images, rows), uniform[rows], self.augment)
                put_rows(images, rows, changed)

    def _change_signals(self, images: Tensor, first_draw: int) -> None:
        """Applies `SIGNALS` in place, with one rounding after the last of them."""
        draws = [self._choose(operation, first_draw, len(images)) for operation in SIGNALS]
        touched = np.flatnonzero(np.any([chosen for _, chosen in draws], axis=0))
        if not len(touched):
            return
        planes = to_planes(take_rows(images, touched))
        for operation, (uniform, chosen) in zip(SIGNALS, draws, strict=True):
            rows = np.flatnonzero(chosen[touched])
            if len(rows):
                drawn = uniform[touched[rows]]
                changed = operation.apply(take_rows(planes, rows), drawn, self.augment)
                put_rows(planes, rows, changed)
        put_rows(images, touched, to_pixels(planes))

    def _choose(
        self, operation: Operation, first_draw: int, count: int
    ) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Uniform numbers `(count, width)`, and which rows the operation changes."""
        chance = getattr(self.augment, operation.name)
        if not chance:  # costs no draws
            return np.empty((count, operation.width)), np.zeros(count, bool)
        uniform = self._draw(operation.stream, first_draw, count, 1 + operation.width)
        return uniform[:, 1:], uniform[:, 0] < chance

    def _draw(self, stream: int, first_draw: int, count: int, width: int) -> Floats:
        return draw_uniform(self.seed, stream, first_draw, count, width)
