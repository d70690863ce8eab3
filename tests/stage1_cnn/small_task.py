"""A small image task in memory: fakes carry a fine checkerboard, reals do not."""

import numpy as np
import pandas as pd

from features.caching.shard_files import ShardFiles
from features.core.manifest import READABLE, SCHEMA
from features.pixels.store import RawStore
from features.settings.learning import Augment, Ema, Loss, Network, Optimizer, Sampling, Schedule
from features.settings.training import MemberSettings, Weights

SIZE = 32


def make_settings(**changes):
    values = {
        "model": "test_resnet",
        "pretrained": False,
        "image_size": SIZE,
        "sampling": Sampling(),
        "loss": Loss(),
        "optimizer": Optimizer(lr=3e-3),
        "schedule": Schedule(epochs=8, warmup_epochs=0.5, batch_size=16),
        "ema": Ema(half_life_epochs=0.3),
        "augment": Augment(),
        "network": Network(),
        "weights": Weights(),
        "seed": 0,
    }
    return MemberSettings(**(values | changes))


def make_table(labels, folds):
    n = len(labels)
    columns = {
        "row_id": np.arange(n),
        "img_name": [f"{i}.png" for i in range(n)],
        "path": [f"images/{i}.png" for i in range(n)],
        "label": labels,
        "override": -1,
        "weight": 1.0,
        "draw_weight": 1.0,
        "fold": folds,
        "group": np.arange(n),
        "generator": "",
        "source": "",
        "domain": "",
        "unit": "",
        "width": SIZE,
        "height": SIZE,
        "bytes": 1,
        "format": "PNG",
        "mode": "RGB",
        "exif": False,
        "subsampling": -1,
        "quant_tables": "",
        "quant_mean": 0.0,
        "equalized_bytes": 0,
        "notes": "",
        "face": "",
        "sha256": [f"{i:064x}" for i in range(n)],
        "status": READABLE,
    }
    return pd.DataFrame(columns)[list(SCHEMA)]


def make_pixels(labels, seed=0):
    rng = np.random.default_rng(seed)
    pixels = rng.normal(128, 20, (len(labels), SIZE, SIZE, 3))
    board = np.indices((SIZE, SIZE)).sum(0) % 2 * 2.0 - 1
    pixels += 12 * np.asarray(labels)[:, None, None, None] * board[None, :, :, None]
    return np.clip(pixels, 0, 255).astype(np.uint8)


def keep_pixels(path, pixels):
    """The store of these pixels, each at its row."""
    files = ShardFiles(path.parent, path.stem)
    pixels.tofile(files.locate(0).path)
    return RawStore(files, np.arange(len(pixels)) * pixels[0].nbytes, SIZE)
