"""What `python -m stage1_cnn.contact_sheet` does."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont

from features.core.files import write_atomic
from features.core.manifest import Ids, LearnRows, Manifest, read_manifest
from features.crops.crop_store import Boxes, CropStore, open_member_store, place_boxes
from features.errors import ConfigError
from features.pixels.decoding import Pixels
from features.pixels.store import ImageStore
from features.settings.training import MemberSettings, TrainParams
from stage1_cnn.augment.augmenter import Augmenter
from stage1_cnn.augment.distortions import to_pixels
from stage1_cnn.augment.mixing import mix_batch
from stage1_cnn.damage.squares import SquareDamage
from stage1_cnn.networks.network import settle_network
from stage1_cnn.networks.normalise import Normaliser
from stage1_cnn.sampling.loader import draw_squares

MANIFEST = Path("artifacts/manifest")
OUT = Path("artifacts/contact_sheets")
COLOURS = np.array([[0, 158, 115], [213, 94, 0]])
"""Of real and fake, told apart by the colour-blind (Okabe and Ito, 2008)."""
FRAME, GAP, TEXT, LETTERS = 3, 6, 13, 18
"""Frame, gap and height of letters in pixels; letters of a name that stand on the left."""
LINE = TEXT + 5
Draw = Callable[[int], tuple[Pixels, Boxes]]
"""By the first place among all draws: squares `(n, s, s, 3)`, and the faces in them."""
_log = logging.getLogger("forgerystack")


@dataclass(frozen=True)
class View:
    """A column: uint8 `(n, s, s, 3)`, and the share of fake `(n,)` in each target."""

    title: str
    images: Pixels
    fakeness: npt.NDArray[np.float64]


def choose_pictures(train: Manifest, rows: LearnRows, count: int, seed: int) -> Ids:
    """Row ids, the first half reals and the others fakes; fewer where a class has no more."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(rows.row_ids)
    labels = train.labels[order]
    return np.concatenate([order[labels == 0][: count // 2], order[labels == 1][: -(-count // 2)]])


def make_views(
    pixels: Pixels,
    labels: Ids,
    settings: MemberSettings,
    count: int,
    draw: Draw | None = None,
) -> list[View]:
    """The images as stored, or the square in their middle, uint8 `(n, s, s, 3)`, and `count` draws.

    All in the size that the network sees. Mixing takes its pairs from these images alone. `draw`
    is what a draw begins with in place of the stored images.
    """
    augment, size, seed = settings.augment, settings.image_size, settings.seed
    # Without statistics it only resizes: its output stays in grey levels.
    fit = Normaliser((0.0,) * 3, (1 / 255,) * 3, size, torch.device("cpu"))
    change, damage = Augmenter(augment, size, seed), SquareDamage(augment.web, seed)
    title = "middle" if settings.images.mode == "crop" else "stored"
    views = [View(title, to_pixels(fit(pixels)).numpy(), labels.astype(np.float64))]
    for number in range(count):
        first = number * len(labels)
        squares, faces = (pixels.copy(), None) if draw is None else draw(first)
        damage.apply(squares, first)
        changed, changed_labels = change(torch.from_numpy(squares), labels, first, faces)
        planes, given = fit(changed), torch.from_numpy(changed_labels)
        fakeness = given.double()
        if augment.mixes:
            planes, targets = mix_batch(planes, given, augment, seed, number)
            fakeness = targets[:, 1].double()
        views.append(View(f"draw {number + 1}", to_pixels(planes).numpy(), fakeness.numpy()))
    return views


def name_label(fakeness: float) -> str:
    """`real`, `fake`, or a mixture such as `0.30 fake`."""
    return {0.0: "real", 1.0: "fake"}.get(round(fakeness, 2), f"{fakeness:.2f} fake")


def draw_sheet(names: Sequence[str], views: Sequence[View]) -> Image.Image:
    """One line for each name, one column for each view."""
    font = ImageFont.load_default(TEXT)
    side = views[0].images.shape[1]
    cell = (side + 2 * FRAME + GAP, side + 2 * FRAME + GAP + LINE)
    shown = [name if len(name) <= LETTERS else f"…{name[1 - LETTERS :]}" for name in names]
    left = 2 * GAP + max(int(font.getlength(name)) for name in shown)
    shape = (left + len(views) * cell[0], LINE + len(names) * cell[1] + GAP)
    sheet = Image.new("RGB", shape, "white")
    pen = ImageDraw.Draw(sheet)
    for line, name in enumerate(shown):
        pen.text((GAP, LINE + (line + 0.5) * cell[1]), name, "black", font, "lm")
    for column, view in enumerate(views):
        x = left + column * cell[0]
        pen.text((x, 3), view.title, "black", font)
        for line in range(len(names)):
            place = (x, LINE + line * cell[1])
            _draw_cell(sheet, place, view.images[line], float(view.fakeness[line]), font)
    return sheet


def _draw_cell(
    sheet: Image.Image,
    place: tuple[int, int],
    pixels: Pixels,
    fakeness: float,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """The label above a framed picture, both in the colour of the label."""
    colour = tuple(np.rint((1 - fakeness) * COLOURS[0] + fakeness * COLOURS[1]).astype(int))
    x, y = place[0], place[1] + LINE
    side = len(pixels) + 2 * FRAME
    pen = ImageDraw.Draw(sheet)
    pen.text((x, y - LINE + 2), name_label(fakeness), colour, font)
    pen.rectangle((x, y, x + side - 1, y + side - 1), outline=colour, width=FRAME)
    sheet.paste(Image.fromarray(pixels), (x + FRAME, y + FRAME))


def begin_draws(
    store: ImageStore, row_ids: Ids, faces: Boxes, seed: int, first_draw: int
) -> tuple[Pixels, Boxes]:
    """See `Draw`."""
    if not isinstance(store, CropStore):
        return store.gather(row_ids), place_boxes(store, row_ids, faces)
    corners = draw_squares(store, row_ids, seed, first_draw)
    return store.cut(row_ids, corners), place_boxes(store, row_ids, faces, corners)


def run(
    params: TrainParams, settings: MemberSettings, fold: int, rows: int, views: int, path: Path
) -> None:
    """Writes `views` draws of each of `rows` images that a member of `fold` learns from.

    Raises `ConfigError` for a frozen network, of which no picture is ever changed.
    """
    if settings.kind == "frozen":
        problem = f"{settings.model} is frozen: it sees pictures as they are, nothing is drawn"
        raise ConfigError("params.yaml", [problem], "Name a backbone that is trained, or --damages")
    settings = settle_network(settings)
    train = read_manifest(MANIFEST, "train")
    row_ids = choose_pictures(train, train.rows_to_learn(fold), rows, params.seed)
    shown = (settings.images.mode, settings.image_size)
    store = open_member_store(train, Path(params.data.root), params.images, *shown)
    draw = partial(begin_draws, store, row_ids, train.faces[row_ids], params.seed)
    labels = train.labels[row_ids].astype(np.int64)
    columns = make_views(store.gather(row_ids), labels, settings, views, draw)
    with write_atomic(path) as file:
        draw_sheet(list(train.read("img_name").iloc[row_ids]), columns).save(file, "PNG")
    _log.info("contact sheet: %s", path)
