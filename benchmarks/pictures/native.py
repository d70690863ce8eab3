"""Pictures in their own shape, in three forms, and squares that are drawn out of them."""

import io
import statistics
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import torch
from PIL import Image
from rich.table import Table

from benchmarks.gpu.sides import (
    HeldTrainer,
    Ours,
    SameStep,
    build_loader,
    choose_settings,
    measure_turn,
)
from benchmarks.pictures.jpegs import SIZE, SOURCE
from benchmarks.pictures.rates import measure
from features.core.files import digest_bytes
from features.crops.crop_store import CropStore
from features.crops.picture_cache import PictureCache
from features.crops.picture_store import FilePictures, RawPictures
from features.crops.places import cut_square, draw_corners
from features.settings.images import Images

BATCH = 64
SQUARE, LEARNT, NETWORK = 224, 32, "mobilenetv3_small_050"
"""Pixels of a square that is drawn, those of a batch, and the network that learns from them."""


class NativePictures:
    """The same pictures in their own shape, in three forms."""

    def __init__(self, root: Path, names: list[str]) -> None:
        self.root, self.rng = root, np.random.default_rng(0)
        contents = [(root / name).read_bytes() for name in names]
        sha256s = [digest_bytes(content) for content in contents]
        self.sizes = np.full((len(names), 2), SOURCE, np.int32)
        images = Images(size=SIZE, store="raw", store_dir=str(root / "native"))
        table = pd.DataFrame({"path": names, "sha256": sha256s})
        needed = np.full(len(names), SOURCE**2 * 3)
        with PictureCache(images, None) as cache:
            assert not cache.fill(root, table, needed, "fill")
            places, _ = cache.find_places(table["sha256"], needed)
        self.raw = RawPictures(cache.pictures, places, self.sizes)
        how = (images, None, None, ThreadPoolExecutor(1))
        self.original = FilePictures(root, names, sha256s, self.sizes, *how)
        self.webp = [encode_webp(content) for content in contents]
        self.bytes = {
            "raw": SOURCE**2 * 3,
            "original": statistics.mean(map(len, contents)),
            "webp": statistics.mean(map(len, self.webp)),
        }

    def cut(self, form: str) -> None:
        """A square of each picture, in batches."""
        rows = self.rng.permutation(len(self.sizes))
        for start in range(0, len(rows), BATCH):
            own = rows[start : start + BATCH]
            corners = draw_corners(self.sizes[own], SQUARE, self.rng.random((len(own), 2)))
            squares = np.empty((len(own), SQUARE, SQUARE, 3), np.uint8)
            if form == "webp":
                for i, row in enumerate(own):
                    with Image.open(io.BytesIO(self.webp[row])) as image:
                        cut_square(np.asarray(image), corners[i], squares[i])
            else:
                getattr(self, form).cut(own, corners, squares)

    def measure_learning(self, rounds: int, steps: int) -> tuple[float, float, float]:
        """Images/s that a small network learns from the cache, those of a batch at hand, and the
        median of their ratios."""
        settings = choose_settings(NETWORK, SQUARE, LEARNT)
        labels = (np.arange(len(self.sizes)) % 5 > 0).astype(np.int8)
        device = torch.device("cpu")
        loader = build_loader(CropStore(self.raw, SQUARE), labels, settings, device)
        trainer = HeldTrainer(loader)
        sides = (Ours(trainer, loader), SameStep(trainer, loader))
        rates = []
        for _ in range(rounds):
            seconds = [measure_turn(side, steps, device) for side in (*sides, *sides[::-1])]
            ours, peer = seconds[0] + seconds[3], seconds[1] + seconds[2]
            rates.append((2 * steps * LEARNT / ours, 2 * steps * LEARNT / peer))
        mine, others = zip(*rates, strict=True)
        ratio = statistics.median(a / b for a, b in rates)
        return statistics.median(mine), statistics.median(others), ratio


def encode_webp(content: bytes) -> bytes:
    """Lossless, at Pillow's own effort."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(content)) as image:
        image.save(buffer, "WEBP", lossless=True)
    return buffer.getvalue()


def compare_forms(native: NativePictures, rounds: int, table: Table) -> dict[str, float]:
    """Ratios of squares a second out of each form of the cache, and of learning from it."""
    rates = [
        {form: measure(partial(native.cut, form), len(native.sizes)) for form in native.bytes}
        for _ in range(rounds)
    ]
    ratios = {}
    for mine, other in (("raw", "original"), ("original", "webp")):
        name = f"native_{mine}_vs_{other}"
        ratios[name] = statistics.median(own[mine] / own[other] for own in rates)
        medians = [statistics.median(own[form] for own in rates) for form in (mine, other)]
        texts = (f"{form}, {native.bytes[form] / 1e3:,.0f} kB" for form in (mine, other))
        table.add_row(
            f"squares of {' against '.join(texts)}", *(f"{rate:,.0f}" for rate in medians),
            f"{ratios[name]:.2f}",
        )  # fmt: skip
    torch.set_num_threads(joblib.cpu_count())
    mine, other, ratio = native.measure_learning(rounds, steps=8)
    ratios["native_batches_vs_resident"] = ratio
    title = f"learn {NETWORK} from native squares against a batch at hand"
    table.add_row(title, f"{mine:,.0f}", f"{other:,.0f}", f"{ratio:.2f}")
    return ratios
