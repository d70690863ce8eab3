"""The pictures of the embedded task: planned by role, drawn in worker processes."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from joblib import Parallel, delayed

from features.demo.forgeries import GENERATORS, UNSEEN, forge
from features.demo.photos import (
    PHOTOS,
    Pixels,
    Tile,
    draw_grain,
    draw_look,
    encode_jpeg,
    list_tiles,
    take_picture,
)
from features.settings.demo import DemoSection

FAKES_A_REAL = {"train": 4.3, "val": 1.5, "test": 1.5}
LAST_QUALITY = 92  # every file's last save, without chroma subsampling
MATCHING_GRAINS = (0.0, 0.8, 1.6, 2.4, 3.2, 3.8)  # grey levels
BATCH = 40  # images a task of a worker process
IMAGES_A_TILE = 8  # with few images use fewer tiles, so that a group still has both classes


@dataclass(frozen=True)
class PlannedImage:
    """One image before it is drawn; `generator` is empty for reals."""

    name: str
    tile: Tile
    generator: str

    @property
    def target(self) -> int:
        """1 = fake, 0 = real."""
        return int(self.generator != "")


def plan_images(role: str, count: int, seed: int) -> list[PlannedImage]:
    """`count` images of `role` in random order under random names.

    Reals and fakes each go round the photographs, and within a photograph round its tiles, so
    where a picture comes from tells nothing about its label.
    """
    rng = make_rng(seed, role, 0)
    tiles = order_tiles(role, count)
    reals = max(2, round(count / (1 + FAKES_A_REAL[role])))
    known = [name for name in GENERATORS if role != "train" or name != UNSEEN]
    generators = [known[i % len(known)] for i in range(count - reals)]
    rng.shuffle(generators)
    jobs = [(tiles[i % len(tiles)], "") for i in range(reals)]
    jobs += [(tiles[i % len(tiles)], name) for i, name in enumerate(generators)]
    names = [f"{rng.bytes(16).hex()}.jpg" for _ in jobs]
    order = rng.permutation(count)
    return [PlannedImage(name, *jobs[job]) for name, job in zip(names, order, strict=True)]


def order_tiles(role: str, count: int) -> list[Tile]:
    """Tiles in the order in which images take them: every photograph equally often."""
    photos = list(PHOTOS[role])
    most = max(1, count // (len(photos) * IMAGES_A_TILE))
    tiles = [sort_from_middle(list_tiles(role, photo))[:most] for photo in photos]
    rounds = math.lcm(*(len(own) for own in tiles))
    return [own[turn % len(own)] for turn in range(rounds) for own in tiles]


def sort_from_middle(tiles: list[Tile]) -> list[Tile]:
    """The middle of a photograph first: a corner may be plain sky."""
    return sorted(tiles, key=lambda tile: abs(2 * tile.index + 1 - len(tiles)))


def make_rng(seed: int, role: str, stream: int) -> np.random.Generator:
    """Stream 0 is the role's plan, stream i + 1 its image i: no order of work changes a byte."""
    return np.random.default_rng([seed, list(PHOTOS).index(role), stream])


def draw_image(planned: PlannedImage, size: int, rng: np.random.Generator) -> bytes:
    """One image as JPEG bytes. A real passes through the same chain as a fake, unforged."""
    look = draw_look(rng)
    image = take_picture(planned.tile, size, look, rng)

    def take_donor() -> Pixels:
        donor_look = replace(draw_look(rng), grey=look.grey)
        return take_picture(planned.tile, size, donor_look, rng)

    last_grain = draw_grain(image.shape, 1.0, look.grey, rng)
    image = image + float(rng.uniform(0.0, 0.8)) * last_grain
    real = encode_jpeg(image, LAST_QUALITY)
    if not planned.generator:
        return real
    forged, mask = forge(image, planned.generator, take_donor, rng)
    return match_bytes(forged, last_grain * (1 - mask[..., None]), len(real))


def match_bytes(forged: Pixels, grain: Pixels, wanted: int) -> bytes:
    """The forged picture in a file nearest to `wanted` bytes, by some more `grain` around it.

    Most forgeries take detail away; without this the size of the file alone gave 0.58 AUC.
    """
    files = [encode_jpeg(forged + sigma * grain, LAST_QUALITY) for sigma in MATCHING_GRAINS]
    return min(files, key=lambda file: abs(len(file) - wanted))


def draw_batch(
    role: str, first: int, plan: Sequence[PlannedImage], size: int, seed: int
) -> list[bytes]:
    """The images of a slice of the plan that starts at `first`."""
    return [
        draw_image(planned, size, make_rng(seed, role, first + i + 1))
        for i, planned in enumerate(plan)
    ]


def draw_images(
    role: str, plan: Sequence[PlannedImage], section: DemoSection, jobs: int
) -> Iterator[bytes]:
    """JPEG bytes of `plan`, in its order, drawn by `jobs` processes (-1: all cores)."""
    tasks = (
        delayed(draw_batch)(role, first, plan[first : first + BATCH], section.size, section.seed)
        for first in range(0, len(plan), BATCH)
    )
    for batch in Parallel(n_jobs=jobs, return_as="generator")(tasks):
        yield from batch


def build_lines(role: str, plan: Sequence[PlannedImage]) -> list[str]:
    """The lines of a role's list file: the test role's names no labels."""
    if role == "test":
        return ["img_name", *(image.name for image in plan)]
    rows = [f"{i.name},{i.target},{i.tile.name},{i.tile.photo},{i.generator}" for i in plan]
    return ["img_name,target,tile,source,generator", *rows]
