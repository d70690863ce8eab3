"""Squares a second under the web's damage, and what a training loses by learning from them.

Run: python -m benchmarks.damage [--quick] [--model NAME] [--size 224] [--batch 32]

chains     what `augment.web: 1.0` does to a batch that is at hand, by threads on all cores as the
           loader does it; the peer does one square after the other
training   loader and trainer from a store of decoded pixels, an untrained network, with
           `augment.web: 0.5`; the peer is the same without. Chains run beside the steps, on the
           cores that steps leave

Both sides take turns in one process; a ratio is the median over the rounds of squares/s of ours /
the peer's. Squares are of photographs.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console

from benchmarks.gpu.sides import HeldTrainer, Ours, build_loader, choose_settings, measure_turn
from benchmarks.pictures.jpegs import make_images
from features.caching.shard_files import ShardFiles
from features.pixels.store import RawStore
from features.runtime.memory import count_workers
from features.settings.learning import Augment
from stage1_cnn.damage.chains import damage_picture
from stage1_cnn.damage.squares import SquareDamage
from stage1_cnn.damage.steps import Pixels
from stage1_cnn.networks.devices import describe_device, pick_device, prepare_device

CHANCE = 0.5
PICTURES = 32


def make_squares(count: int, size: int) -> Pixels:
    """`(count, size, size, 3)` of photographs."""
    with tempfile.TemporaryDirectory() as folder:
        paths = (Path(folder) / name for name in make_images(Path(folder), min(count, PICTURES)))
        squares = [np.asarray(Image.open(path).resize((size, size))) for path in paths]
    return np.stack(squares)[np.arange(count) % len(squares)]


def time_batch(squares: Pixels, change: Callable[[Pixels], None]) -> float:
    """Squares a second."""
    batch, start = squares.copy(), time.perf_counter()
    change(batch)
    return len(batch) / (time.perf_counter() - start)


def damage_in_turn(squares: Pixels) -> None:
    """One after the other, without threads."""
    for draw, square in enumerate(squares):
        damage_picture(square, 0, draw)


def compare_chains(size: int, rounds: int) -> tuple[list[float], list[float]]:
    """Squares a second by threads, and one after the other."""
    squares, threads = make_squares(64, size), SquareDamage(1.0, 0)
    ours, peer = [], []
    for _ in range(rounds):
        ours.append(time_batch(squares, lambda batch: threads.apply(batch, 0)))
        peer.append(time_batch(squares, damage_in_turn))
    return ours, peer


def compare_trainings(
    model: str, size: int, batch: int, rounds: int, steps: int
) -> tuple[list[float], list[float]]:
    """Images a second of a training with damage, and of one without."""
    device = pick_device()
    prepare_device(device)
    labels = (np.arange(4 * batch) % 5 > 0).astype(np.int8)
    with tempfile.TemporaryDirectory() as folder:
        files = ShardFiles(Path(folder), "images")
        make_squares(len(labels), size).tofile(files.locate(0).path)
        store = RawStore(files, np.arange(len(labels)) * size**2 * 3, size)
        sides = []
        for chance in (CHANCE, 0.0):
            settings = choose_settings(model, size, batch)
            settings = settings.model_copy(update={"augment": Augment(web=chance)})
            loader = build_loader(store, labels, settings, device)
            sides.append(Ours(HeldTrainer(loader), loader))
        rates: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds):
            for side, found in zip(sides, rates, strict=True):
                found.append(steps * batch / measure_turn(side, steps, device))
    return rates


def show(console: Console, title: str, rates: tuple[list[float], list[float]]) -> float:
    """A line of medians; the ratio."""
    ratio = statistics.median(a / b for a, b in zip(*rates, strict=True))
    ours, peer = map(statistics.median, rates)
    console.print(f"{title:40} {ours:8.0f}/s, peer {peer:8.0f}/s, ratio {ratio:.2f}")
    return ratio


def main() -> None:
    """Measures both, and prints their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under a minute on two cores")
    parser.add_argument("--model", default="tf_efficientnet_lite0")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    asked = parser.parse_args()
    rounds, steps = (3, 2) if asked.quick else (9, 8)
    console = Console()
    console.print(f"{describe_device(pick_device())}, {count_workers()} threads for chains")
    for size in (96, asked.size, 512):
        ratio = show(console, f"chains of {size} px squares", compare_chains(size, rounds))
    print(f"ratio damage_threads {ratio:.3f}")
    rates = compare_trainings(asked.model, asked.size, asked.batch, rounds, steps)
    ratio = show(console, f"training {asked.model} at {asked.size} px, web {CHANCE:g}", rates)
    print(f"ratio damage_train {ratio:.3f}")


if __name__ == "__main__":
    main()
