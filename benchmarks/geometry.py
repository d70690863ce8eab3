"""Pictures a second that a member learns from and scores, by what it sees of them.

Run: python -m benchmarks.geometry [--quick] [--model NAME] [--batch 32]

512 px JPEGs, kept decoded as `images.store` keeps them, and an untrained network that sees 224 px,
so small that pictures count beside it; on the device that training would take. `images.mode` square
(stretched to 256 px), fit (256 px) and crop (224 of their own pixels; nine squares of a picture are
scored), each also with `augment.web: 0.5`, which scoring knows nothing of.

Learning is the loader and the trainer, scoring what `dump` does with engine: torch. All take turns
in one process. On a CPU a second is one of a core, so that what runs beside the steps counts; a
ratio is the median over the rounds of pictures/s, against square without damage.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.gpu.sides import HeldTrainer, Ours, build_loader, choose_settings, wait
from benchmarks.pictures.jpegs import SOURCE, make_images
from benchmarks.pictures.native import NETWORK
from features.core.files import digest_file
from features.core.manifest import READABLE, Manifest
from features.crops.crop_store import lay_grid, open_member_store
from features.pixels.store import ImageStore
from features.settings.images import Images, Mode
from features.settings.learning import Augment
from stage1_cnn.networks.devices import describe_device, pick_device, prepare_device
from stage1_cnn.scoring.engines import build_torch_engine
from stage1_cnn.scoring.processes import Processes
from stage1_cnn.scoring.rows import score_rows

MODES: tuple[Mode, ...] = ("square", "fit", "crop")
SIZE, SEEN, SQUARES, CHANCE = 256, 224, 9, 0.5
"""Pixels of squares and fitted pictures, those that the network sees; squares of a picture that
are scored; chance of damage."""
Rates = dict[str, list[float]]


def open_stores(root: Path, count: int) -> Iterator[tuple[Mode, ImageStore]]:
    """What members of each mode get of the same files, decoded before."""
    names = make_images(root, count)
    table = pd.DataFrame(
        {
            "path": names,
            "sha256": [digest_file(root / name) for name in names],
            "bytes": [(root / name).stat().st_size for name in names],
            "status": READABLE,
            "width": SOURCE,
            "height": SOURCE,
        }
    )
    images = Images(size=SIZE, store="raw", store_dir=str(root / "store"))
    for mode in MODES:
        yield mode, open_member_store(Manifest("train", table, ""), root, images, mode, SEEN)


def build_learners(
    stores: dict[Mode, ImageStore], model: str, batch: int, device: torch.device
) -> dict[str, Ours]:
    """A loader and a trainer for each mode, with and without damage."""
    learners = {}
    for mode, store in stores.items():
        labels = (np.arange(len(store)) % 5 > 0).astype(np.int8)
        for chance in (0.0, CHANCE):
            settings = choose_settings(model, SEEN, batch)
            settings = settings.model_copy(update={"augment": Augment(hflip=0.5, web=chance)})
            loader = build_loader(store, labels, settings, device)
            learners[name_side(mode, chance)] = Ours(HeldTrainer(loader), loader)
    return learners


def name_side(mode: Mode, chance: float) -> str:
    """As the table calls it."""
    return f"{mode}_web" if chance else mode


def build_scorers(
    stores: dict[Mode, ImageStore], learner: Ours, device: torch.device
) -> dict[str, Callable[[], object]]:
    """What scores all pictures of a mode, by the network of `learner`."""
    trainer, processes = learner.trainer, Processes(device)
    engine = build_torch_engine(trainer.network.eval(), trainer.settings, device)
    return {
        mode: partial(
            score_rows, engine, lay_grid(store, SQUARES), np.arange(len(store)), processes
        )
        for mode, store in stores.items()
    }


def learn(learner: Ours, steps: int, device: torch.device) -> None:
    """So many steps, and all that is loaded for them."""
    for batch in learner.start(steps):
        learner.step(batch)
    wait(device)


def take_turns(
    turns: Mapping[str, Callable[[], object]], pictures: int, rounds: int, device: torch.device
) -> Rates:
    """Pictures a second of each, by round; the first one, in which caches fill, does not count."""
    tell_time = time.process_time if device.type == "cpu" else time.perf_counter
    rates: Rates = {name: [] for name in turns}
    for _ in range(rounds + 1):
        for name, turn in turns.items():
            start = tell_time()
            turn()
            rates[name].append(pictures / (tell_time() - start))
    return {name: found[1:] for name, found in rates.items()}


def compare(rates: Rates, name: str) -> float:
    """Median over the rounds of what is left of the rate of squares."""
    pairs = zip(rates[name], rates["square"], strict=True)
    return statistics.median(own / square for own, square in pairs)


def main() -> None:
    """Measures all, and prints their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under a minute on two cores")
    parser.add_argument("--model", default=NETWORK)
    parser.add_argument("--batch", type=int, default=32)
    asked = parser.parse_args()
    rounds, steps = (2, 2) if asked.quick else (7, 6)
    device = pick_device()
    prepare_device(device)
    with tempfile.TemporaryDirectory() as folder:
        stores = dict(open_stores(Path(folder), asked.batch))
        learners = build_learners(stores, asked.model, asked.batch, device)
        turns = {name: partial(learn, own, steps, device) for name, own in learners.items()}
        learnt = take_turns(turns, steps * asked.batch, rounds, device)
        scorers = build_scorers(stores, learners["square"], device)
        scored = take_turns(scorers, asked.batch, rounds, device)
    table = Table("mode", "learns, pictures/s", "of square", "scores, pictures/s", "of square")
    for name in learners:
        cells = [f"{statistics.median(learnt[name]):.1f}", f"{compare(learnt, name):.2f}"]
        if name in scored:
            cells += [f"{statistics.median(scored[name]):.1f}", f"{compare(scored, name):.2f}"]
        table.add_row(name, *cells)
    console = Console()
    console.print(f"{describe_device(device)}: {asked.model} at {SEEN} px, {rounds} rounds in turn")
    console.print(table)
    for name in learners:
        print(f"ratio learn_{name} {compare(learnt, name):.3f}")


if __name__ == "__main__":
    main()
