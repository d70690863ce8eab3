"""How fast images come in: filling the store, batches out of it, and decoding on the fly.

Run: python -m benchmarks.images [--quick]

512 px JPEGs (quality 90, 4:2:0 and 4:4:4 in turn) to 256 px. Both sides of each pair run in turn,
in one process; a ratio is the median over the rounds of ours / the peer's images a second.

Then the same files as native pictures, out of which squares of 224 px are drawn: raw in the cache,
as lossless WebP, and as the JPEGs that they are, by one thread; and a small network that learns
from the cache, all cores, against its own step on one batch that is ready.
"""

import argparse
import io
import mmap
import shutil
import statistics
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

import joblib
import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torchvision import transforms
from torchvision.io import decode_jpeg

from benchmarks.pictures.jpegs import MEAN, SIZE, SOURCE, STD, make_images
from benchmarks.pictures.native import BATCH, NativePictures, compare_forms
from benchmarks.pictures.rates import measure
from features.caching import shard_files
from features.caching.shard_files import ShardFiles, place_items
from features.core.files import digest_bytes
from features.core.manifest import Ids
from features.pixels import cache as image_cache
from features.pixels.cache import ImageCache
from features.pixels.decoding import Pixels
from features.pixels.store import FileStore, RawStore
from features.settings.images import NO_LIMITS, Images
from features.settings.learning import Augment
from stage1_cnn.augment.augmenter import Augmenter
from stage1_cnn.networks.normalise import Normaliser

SHARD = 1 << 24
"""Bytes of one of many shards: 85 squares."""
NATIVE = 64
"""Pictures that squares are drawn from: to encode one losslessly takes 0.2 s."""


class OneFile:
    """Squares in one file that is mapped as a whole, each batch one `take`: what shards are
    measured by."""

    def __init__(self, path: Path) -> None:
        with open(path, "rb") as file:
            self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.pixels = np.frombuffer(self.map, np.uint8).reshape(-1, SIZE, SIZE, 3)

    def gather(self, rows: Ids) -> Pixels:
        """`(b, s, s, 3)`; the disk is told of all rows first."""
        size = SIZE**2 * 3
        for start in (rows * size).tolist():
            page = start // mmap.PAGESIZE * mmap.PAGESIZE
            self.map.madvise(mmap.MADV_WILLNEED, page, start + size - page)
        return np.take(self.pixels, rows, axis=0, mode="clip")


class Sides:
    """Both sides of every pair, on the same files."""

    def __init__(self, root: Path, names: list[str]) -> None:
        self.root, self.names = root, names
        self.contents = [(root / name).read_bytes() for name in names]
        self.sha256s = [digest_bytes(content) for content in self.contents]
        self.fills = 0
        self.rng = np.random.default_rng(0)
        self.normalise = Normaliser(MEAN, STD, SIZE, torch.device("cpu"))
        self.augment = Augmenter(Augment(hflip=0.5, vflip=0.5), SIZE, 0)
        self.chain = transforms.Compose(
            [
                transforms.Resize((SIZE, SIZE)),
                transforms.RandomHorizontalFlip(),
                transforms.RandomVerticalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )
        self.store = self.fill_store()
        (shard,) = root.glob("store1/*/images-*")
        self.one_file = OneFile(shard)
        self.many = self.split_store()

    def fill_store(self) -> RawStore:
        """Ours, all cores: read, check, decode, resize, sha256, hash, write, flush, record.

        By processes, as for 10,000 files and more; they have been started before.
        """
        self.fills += 1
        images = Images(size=SIZE, store="raw", store_dir=str(self.root / f"store{self.fills}"))
        large = patch.multiple(image_cache, MANY=1, estimate_bytes=lambda *_: 1e12)
        with ImageCache(images) as cache, large:
            facts = cache.scan(self.root, self.names, NO_LIMITS, pixels=True, title="fill")
        places = cache.place_pixels(facts["slot"].to_numpy(np.int64))
        return RawStore(cache.pixels, places, SIZE)

    def take(self) -> None:
        """The peer: batches of the same squares, all in one file."""
        self.draw_batches(self.one_file.gather)

    def split_store(self) -> RawStore:
        """The squares in shards of `SHARD` bytes."""
        files = ShardFiles(self.root, "many")
        with patch.multiple(shard_files, SHARD_BYTES=SHARD):
            places = place_items(np.arange(len(self.names)), SIZE**2 * 3, together=1)
            for place, square in zip(places.tolist(), self.one_file.pixels, strict=True):
                with files.locate(place).open() as file:
                    file.write(square.tobytes())
        return RawStore(files, places, SIZE)

    def clean(self) -> None:
        """Removes the stores that were filled for their time, outside of any."""
        for folder in self.root.glob("store*"):
            if folder.name != "store1":
                shutil.rmtree(folder)

    def decode_bare(self) -> None:
        """The floor, all cores: torchvision's decode_jpeg of files in memory, nothing else."""
        buffers = [torch.frombuffer(bytearray(c), dtype=torch.uint8) for c in self.contents]
        with ThreadPoolExecutor(joblib.cpu_count()) as threads:
            for _ in threads.map(decode_jpeg, buffers):
                pass

    def draw_batches(self, gather: Callable[[Ids], Pixels]) -> None:
        """Random batches, one thread."""
        for _ in range(20):
            rows = self.rng.permutation(len(self.names))
            for start in range(0, len(rows), BATCH):
                gather(rows[start : start + BATCH])

    def gather(self) -> None:
        """Ours: batches of uint8 out of the store, which is one shard."""
        self.draw_batches(self.store.gather)

    def gather_of_many(self) -> None:
        """Ours: the same out of many shards."""
        with patch.multiple(shard_files, SHARD_BYTES=SHARD):
            self.draw_batches(self.many.gather)

    def decode_pil(self) -> None:
        """The peer, one thread: Pillow decodes and resizes to uint8."""
        for content in self.contents:
            with Image.open(io.BytesIO(content)) as image:
                small = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
                np.asarray(small)

    def decode_on_the_fly(self) -> None:
        """Ours, one thread: batches of normalised float32, flipped, straight from the files."""
        threads = ThreadPoolExecutor(1)
        images = Images(size=SIZE, store="none")
        store = FileStore(self.root, self.names, self.sha256s, images, None, threads)
        for start in range(0, len(self.names), BATCH):
            rows = np.arange(start, min(start + BATCH, len(self.names)))
            pixels = torch.from_numpy(store.gather(rows))
            images, _ = self.augment(pixels, np.zeros(len(rows), np.int64), start)
            self.normalise(images)

    def run_usual_chain(self) -> None:
        """The peer, one thread: PIL, Resize, flips, ToTensor, Normalize, stacked to batches."""
        for start in range(0, len(self.names), BATCH):
            batch = []
            for name in self.names[start : start + BATCH]:
                with Image.open(self.root / name) as image:
                    batch.append(self.chain(image.convert("RGB")))
            torch.stack(batch)


def compare(
    sides: Sides, rounds: int, ours: str, peer: str, repeats: int, peer_repeats: int
) -> tuple[float, ...]:
    """Median rate of ours and of the peer, and the median of their ratios."""
    n, rates = len(sides.names), []
    for _ in range(rounds):
        mine = measure(getattr(sides, ours), n * repeats)
        sides.clean()
        rates.append((mine, measure(getattr(sides, peer), n * peer_repeats)))
    ratio = statistics.median(a / b for a, b in rates)
    return statistics.median(a for a, _ in rates), statistics.median(b for _, b in rates), ratio


def main() -> None:
    """Run every pair and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer images, under a minute")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    count, rounds = (512, 3) if quick else (2048, 5)
    pairs = {
        "store_fill_vs_decode": ("fill_store", "decode_bare", 1, 1),
        "store_gather_vs_pil": ("gather", "decode_pil", 20, 1),
        "store_gather_vs_one_file": ("gather", "take", 20, 20),
        "many_shards_gather_vs_one_file": ("gather_of_many", "take", 20, 20),
        "on_the_fly_vs_note": ("decode_on_the_fly", "run_usual_chain", 1, 1),
    }
    table = Table("pair", "ours, images/s", "peer, images/s", "ratio")
    ratios = {}
    with tempfile.TemporaryDirectory() as folder:
        sides = Sides(Path(folder), make_images(Path(folder), count))
        for name, (ours, peer, *repeats) in pairs.items():
            mine, other, ratios[name] = compare(sides, rounds, ours, peer, *repeats)
            table.add_row(
                f"{ours} against {peer}", f"{mine:,.0f}", f"{other:,.0f}", f"{ratios[name]:.2f}"
            )
        ratios |= compare_forms(NativePictures(sides.root, sides.names[:NATIVE]), rounds, table)
    console = Console()
    console.print(
        f"{count} JPEGs of {SOURCE} px to {SIZE} px, {rounds} rounds in turn, "
        f"{joblib.cpu_count()} cores"
    )
    console.print(table)
    for name, ratio in ratios.items():
        print(f"ratio {name} {ratio:.3f}")


if __name__ == "__main__":
    main()
