"""How fast forensic features are computed, on one core, and what each family of them takes.

Run: python -m benchmarks.forensics [--quick]

256 px crops of photographs with grain. Seconds are those of the processor, so that other work on
the machine counts little; the rate is the median over the rounds. There is no peer: no library
computes these features, and the target is 100 images a second and core.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from features.demo.photos import PHOTOS, read_photo
from features.forensics.batch import Batch, Pixels
from features.forensics.columns import COLUMNS, FAMILIES, count_together, measure_images

SIZE = 256


def make_images(count: int) -> Pixels:
    """`(count, 256, 256, 3)`."""
    rng = np.random.default_rng(0)
    images = np.empty((count, SIZE, SIZE, 3), np.uint8)
    for i in range(count):
        photo = Image.fromarray(read_photo("train", list(PHOTOS["train"])[i % 9]))
        side = int(rng.integers(min(photo.size) // 2, min(photo.size)))
        x, y = (int(rng.integers(0, length - side + 1)) for length in photo.size)
        crop = np.asarray(photo.crop((x, y, x + side, y + side)).resize((SIZE, SIZE)))
        images[i] = np.clip(crop + rng.normal(0, 4, crop.shape), 0, 255)
    return images


def measure(run: Callable[[], object]) -> float:
    """Seconds of the processor."""
    start = time.process_time()
    run()
    return time.process_time() - start


def measure_shares(images: Pixels) -> dict[str, float]:
    """Seconds of what families share and of each family, on images looked at together."""
    batch = Batch(images)
    shared = ("planes", "luma", "noise", "luma_noise", "tile_noise", "tile_texture")
    found = {"shared": measure(lambda: [getattr(batch, name) for name in shared])}
    for name, family in FAMILIES.items():
        found[name] = measure(lambda family=family: family.measure(batch))
    return found


def main() -> None:
    """Measure all features together, then each family, and print both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer images, under a minute")
    quick = parser.parse_args().quick
    count, rounds = (64, 5) if quick else (256, 9)
    images = make_images(count)
    step = count_together(SIZE)
    with threadpool_limits(1):
        measure_images(images[:step])  # tables that are made once
        seconds = [measure(lambda: measure_images(images)) for _ in range(rounds)]
        parts = [measure_shares(images[i : i + step]) for i in range(0, count, step)]
    table = Table("family", "columns", "ms an image")
    for name in parts[0]:
        columns = str(len(FAMILIES[name].columns)) if name in FAMILIES else "–"
        share = statistics.median(part[name] for part in parts) / step
        table.add_row(name, columns, f"{share * 1e3:.2f}")
    rate = count / statistics.median(seconds)
    table.add_row("all together", str(len(COLUMNS)), f"{1e3 / rate:.2f}")
    console = Console()
    console.print(f"{count} images of {SIZE} px, {rounds} rounds, one core, without decoding")
    console.print(table)
    print(f"images_per_second_per_core forensics {rate:.1f}")


if __name__ == "__main__":
    main()
