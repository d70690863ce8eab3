"""JPEGs of two classes, as all of them read them, and how many processes do."""

import shutil
import time
from pathlib import Path

import joblib
import numpy as np

from benchmarks.pictures.jpegs import make_images
from features.core.files import digest_file
from features.pixels.cache import ImageCache
from features.pixels.store import FileStore, RawStore
from features.settings.images import NO_LIMITS, Images

WORKERS = joblib.cpu_count()
QUEUED = 2 * WORKERS
"""Batches that a DataLoader's workers are ahead by: its default, two each."""


class Files:
    """JPEGs in a folder for each class, their labels, and our two stores of them."""

    def __init__(self, root: Path, count: int, size: int) -> None:
        self.root, self.size, self.fills = root / "images", size, 0
        self.labels = (np.random.default_rng(0).random(count) < 0.81).astype(np.int8)
        self.names = []
        for kind in ("fake", "real"):  # timm numbers folders in this order; a loss does not mind
            (self.root / kind).mkdir(parents=True)
        for name, label in zip(make_images(self.root, count), self.labels, strict=True):
            self.names.append(f"{'fake' if label else 'real'}/{name}")
            (self.root / name).rename(self.root / self.names[-1])
        self.stores = root / "stores"
        self.store, _ = self.fill()

    def fill(self) -> tuple[RawStore, float]:
        """Ours, all cores: read, check, decode, resize, hash, write, record; and images/s."""
        self.fills += 1
        images = Images(size=self.size, store="raw", store_dir=str(self.stores / str(self.fills)))
        start = time.perf_counter()
        with ImageCache(images) as cache:
            facts = cache.scan(self.root, self.names, NO_LIMITS, pixels=True, title="fill")
        rate = len(self.names) / (time.perf_counter() - start)
        places = cache.place_pixels(facts["slot"].to_numpy(np.int64))
        return RawStore(cache.pixels, places, self.size), rate

    def measure_fill(self) -> float:
        """Images/s; the store is removed."""
        _, rate = self.fill()
        shutil.rmtree(self.stores / str(self.fills))
        return rate

    def open_files(self) -> FileStore:
        """Decodes at each use."""
        sha256s = [digest_file(self.root / name) for name in self.names]
        return FileStore(self.root, self.names, sha256s, Images(size=self.size, store="none"))
