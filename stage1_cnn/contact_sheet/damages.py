"""Each damage of the web by itself, and each tier, as files look under it."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from features.artifacts.perturbed import CLEAN
from features.core.files import write_atomic
from features.core.manifest import Ids, Manifest, read_manifest
from features.core.manifest_columns import take_columns
from features.core.trusted import ANYWHERE
from features.pixels.decoding import Pixels, decode_pixels
from features.pixels.opening import open_image
from features.pixels.reading import read_content
from features.settings.images import NO_LIMITS
from features.settings.perturb import Tier, Tiers
from features.settings.training import TrainParams
from stage1_cnn.contact_sheet.run import MANIFEST, View, choose_pictures, draw_sheet
from stage1_cnn.damage.chains import DAMAGES, Damage
from stage1_cnn.perturb.tiers import damage_file

SIDE = 256
"""Of a cell: larger pictures are shown smaller, smaller ones as they are."""
GROUND = 200
_log = logging.getLogger("forgerystack")


def read_pictures(train: Manifest, root: Path, row_ids: Ids) -> list[Pixels]:
    """The files' own pixels, each `(h, w, 3)`."""
    paths = train.read("path").iloc[row_ids]
    contents = [read_content(root, path, ANYWHERE).data for path in paths]
    return [decode_pixels(c, open_image(c, NO_LIMITS)).pixels for c in contents]


def fit_cell(pixels: Pixels) -> Pixels:
    """The whole picture in the middle of a grey `(SIDE, SIDE, 3)`."""
    image = Image.fromarray(pixels)
    image.thumbnail((SIDE, SIDE))
    cell = Image.new("RGB", (SIDE, SIDE), (GROUND,) * 3)
    cell.paste(image, ((SIDE - image.width) // 2, (SIDE - image.height) // 2))
    return np.asarray(cell)


def show_damages(
    pictures: Sequence[Pixels], sha256s: Sequence[str], labels: Ids, tiers: Tiers, seed: int
) -> list[View]:
    """The pictures as they are, under each damage at a strength that is drawn, and in each tier."""

    def show(title: str, change: Callable[[int], Pixels]) -> View:
        cells = [fit_cell(change(place)) for place in range(len(pictures))]
        return View(title, np.stack(cells), labels.astype(np.float64))

    def draw(damage: Damage, place: int) -> Pixels:
        return damage(pictures[place], np.random.default_rng([seed, place]))

    def judge(tier: Tier, place: int) -> Pixels:
        return damage_file(tier, sha256s[place], pictures[place])

    return [
        show(CLEAN, pictures.__getitem__),
        *(show(name, partial(draw, damage)) for name, damage in DAMAGES.items()),
        *(show(name, partial(judge, tier)) for name, tier in tiers.items()),
    ]


def run_damages(params: TrainParams, tiers: Tiers, fold: int, rows: int, path: Path) -> None:
    """Writes the sheet of `rows` images that a member of `fold` learns from."""
    train = read_manifest(MANIFEST, "train")
    row_ids = choose_pictures(train, train.rows_to_learn(fold), rows, params.seed)
    table = take_columns(train, ("img_name", "sha256"), row_ids)
    pictures = read_pictures(train, Path(params.data.root), row_ids)
    labels = train.labels[row_ids].astype(np.int64)
    views = show_damages(pictures, list(table["sha256"]), labels, tiers, params.seed)
    with write_atomic(path) as file:
        draw_sheet(list(table["img_name"]), views).save(file, "PNG")
    _log.info("contact sheet: %s", path)
