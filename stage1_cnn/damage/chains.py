"""What may happen to a picture on the web, one thing after the other, drawn by chance.

Strengths are relative to the picture, so that a chain may be drawn for a file or for a square of
it; codecs work on the pixels that they are given.

damaged = damage_picture(pixels, seed=0, draw=17)
"""

from collections.abc import Callable

import numpy as np

from stage1_cnn.damage import steps
from stage1_cnn.damage.steps import LEAST_SIDE, Kernel, Pixels

Random = np.random.Generator
Damage = Callable[[Pixels, Random], Pixels]
MOST_STEPS = 4
QUALITIES = (30, 95)
"""Of JPEG and WebP: messengers save at 40 to 70, sites at 70 to 90."""
CHROMAS: tuple[tuple[steps.Chroma, float], ...] = (("4:2:0", 0.7), ("4:4:4", 0.2), ("4:2:2", 0.1))
"""And how often: most encoders halve chroma unless they are told otherwise."""
FACTORS = (0.35, 1.25)
"""Of the sides, even in their logarithm."""
KERNELS = (Kernel.NEAREST, Kernel.BOX, Kernel.BILINEAR, Kernel.BICUBIC, Kernel.LANCZOS)
SIGMAS = (0.002, 0.008)
"""Of a blur, as shares of the longest side: half a pixel to two of 256."""
NOISES = (1.0, 10.0)
COLOURS = (0.8, 1.2)
MARGIN = 0.25
"""The widest on each side, as a share of that side."""
BAR = 0.06
"""Height of a screen's bar, as a share of the height."""
GREYS = (0, 18, 128, 240, 255)
"""Backgrounds: black, dark, grey, light, white."""
CUT = 0.15
"""The most that is cut off a side, as a share of it."""
_STREAM = 11
"""Tells these draws from others of the same seed."""


def _pick_quality(random: Random) -> int:
    return int(random.integers(QUALITIES[0], QUALITIES[1] + 1))


def _save_jpeg(pixels: Pixels, random: Random) -> Pixels:
    names, chances = zip(*CHROMAS, strict=True)
    chroma = names[random.choice(len(names), p=chances)]
    return steps.save_jpeg(pixels, _pick_quality(random), chroma)


def _save_jpeg_twice(pixels: Pixels, random: Random) -> Pixels:
    return _save_jpeg(_save_jpeg(pixels, random), random)


def _save_webp(pixels: Pixels, random: Random) -> Pixels:
    return steps.save_webp(pixels, _pick_quality(random))


def _resize(pixels: Pixels, random: Random) -> Pixels:
    factor = float(np.exp(random.uniform(*np.log(FACTORS))))
    return steps.resize_picture(pixels, factor, KERNELS[random.integers(len(KERNELS))])


def _resize_and_save(pixels: Pixels, random: Random) -> Pixels:
    return _save_jpeg(_resize(pixels, random), random)


def _blur(pixels: Pixels, random: Random) -> Pixels:
    return steps.blur_picture(pixels, random.uniform(*SIGMAS) * max(pixels.shape[:2]))


def _add_noise(pixels: Pixels, random: Random) -> Pixels:
    return steps.add_grain(pixels, random.uniform(*NOISES), random)


def _change_colour(pixels: Pixels, random: Random) -> Pixels:
    return steps.recolour(pixels, *random.uniform(*COLOURS, 3))


def _frame(pixels: Pixels, random: Random) -> Pixels:
    sides = np.array([*pixels.shape[:2]] * 2)
    top, right, bottom, left = (random.uniform(0, MARGIN, 4) * sides).astype(int).tolist()
    grey = int(GREYS[random.integers(len(GREYS))])
    bar = round(BAR * pixels.shape[0]) * int(random.integers(2))
    return steps.frame(pixels, (top, right, bottom, left), grey, bar)


def _cut(pixels: Pixels, random: Random) -> Pixels:
    """Off the grid on both axes, as far as the picture is large enough."""
    boxes = []
    for side in pixels.shape[:2]:
        room = max(side - LEAST_SIDE, 0)
        most = min(int(CUT * side), room)
        start, end = random.integers(most + 1, size=2).tolist()
        if start % 8 == 0:
            start = min(start + 1, room)
        boxes.append((start, max(side - start - end, LEAST_SIDE)))
    (top, height), (left, width) = boxes
    return steps.cut_rectangle(pixels, top, left, height, width)


DAMAGES: dict[str, Damage] = {
    "jpeg": _save_jpeg,
    "jpeg twice": _save_jpeg_twice,
    "webp": _save_webp,
    "resize": _resize,
    "resize and jpeg": _resize_and_save,
    "blur": _blur,
    "noise": _add_noise,
    "colour": _change_colour,
    "screenshot": _frame,
    "cut": _cut,
}
"""All that may happen; a chain holds each at most once."""


def draw_chain(random: Random) -> tuple[str, ...]:
    """One to `MOST_STEPS` of `DAMAGES`, in a random order; every length is as likely."""
    count = int(random.integers(1, MOST_STEPS + 1))
    return tuple(np.array(list(DAMAGES))[random.permutation(len(DAMAGES))[:count]].tolist())


def damage_picture(pixels: Pixels, seed: int, draw: int, chance: float = 1.0) -> Pixels:
    """Uint8 `(h, w, 3)` under the chain of one draw, with this chance; its size may be another.

    A function of `seed` and `draw` alone: no other draw, process or machine moves its numbers.
    """
    key = np.array([seed, _STREAM], np.uint64)
    # A draw has 2^64 blocks of numbers of its own: chains need different amounts of them.
    random = np.random.Generator(np.random.Philox(key=key, counter=[0, draw, 0, 0]))
    if random.random() >= chance:
        return pixels
    for name in draw_chain(random):
        pixels = DAMAGES[name](pixels, random)
    return pixels
