"""Images/s of whole training loops, files or store to averaged weights, against the bare step.

Run: python -m benchmarks.train_throughput [--quick] [--model NAME …] [--size 224] [--batch 32]

512 px JPEGs, 81 % of them fakes. Two classes, untrained weights, the device that training would
take. Side by side:

limit        forward, backward, optimiser (fused AdamW) and EMA on one batch that is ready, with
             the network, optimiser and precision of ours; no value is read
same step    our Trainer's whole step on that batch: it also sets the rate, shares weights out,
             keeps batch norm's statistics for a step that must be skipped, and reads the loss
ours         BatchLoader and Trainer: store of decoded pixels, balanced draws, flips (both ways,
             0.5), normalising, that step; one thread loads, all else is the device's
on the fly   the same out of the files (`images.store: none`), decoded by threads on all cores
timm         its train.py, as far as a step goes: `--opt adamw --model-ema --channels-last`, on CUDA
             with `--amp --pin-mem` and its prefetcher. PIL loader, random resized crop, mirror,
             colour jitter (the script's defaults, so it does more to an image than ours), label
             smoothing, ModelEmaV3, the loss read each step
note         WeightedRandomSampler, DataLoader, PIL, Resize, flips, ToTensor, Normalize, loss and
             accuracy read each step, AdamW, ModelEmaV2; float32, channels first

timm and note have as many worker processes as there are cores, which stay from turn to turn. All
sides take turns in one process; the first three, which differ by little, twice a round, there and
back. A turn starts with steps that are not timed (processes start, queues fill), and what workers
are ahead by is used up after it, outside of anybody's time. A ratio is the median over the rounds
of images/s of ours / the other side's.

The store is filled once, before; timm, note and on the fly decode anew in every epoch. So the fill
is measured too, and from how many epochs on it has paid for itself against on the fly. `prepare`
reads every file in any case, and nothing is taken off for that.

It is meant for a CPU. How near training comes to the limit on a GPU, in minutes and for networks
and batches that fill the card: python -m benchmarks.gpu_check --group speed. Here, with --model
resnet50 --size 256 --batch 256, 16 cores take about 20 minutes a network, and the workers of timm
and note, which hold two batches each, want 6 GB of shared memory.
"""

import argparse
import gc
import math
import statistics
import tempfile
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.gpu.sides import (
    SEED,
    HeldTrainer,
    Ours,
    Side,
    build_close_sides,
    build_loader,
    choose_settings,
    measure_turn,
)
from benchmarks.peers.labelled_files import QUEUED, WORKERS, Files
from benchmarks.peers.note import Note
from benchmarks.peers.timm_script import Timm
from benchmarks.pictures.jpegs import SOURCE
from features.settings.training import MemberSettings
from stage1_cnn.networks.devices import describe_device, pick_device, prepare_device

TITLES = {
    "limit": "limit: forward, backward, AdamW, EMA; batch at hand",
    "same step": "same step: our Trainer's, batch at hand",
    "ours": "ours: store, balanced draws, flips, normalise, step",
    "on the fly": "on the fly: ours, decoding at each use",
    "timm": "timm: its train.py, PIL loader, AdamW, ModelEmaV3",
    "note": "note: WeightedRandomSampler, PIL, AdamW, ModelEmaV2",
    "fill": "fill of the store, once",
}
CLOSE = ("limit", "same step", "ours")
"""Sides that differ by little: they have a second turn in each round, in reverse."""
RATIOS = {"resident": "limit", "timm": "timm", "note": "note"}
Rates = dict[str, list[float]]


def build_sides(
    files: Files, settings: MemberSettings, steps: int, device: torch.device
) -> dict[str, Side]:
    """All of them, by name; ours and the limit share one network."""
    torch.manual_seed(SEED)
    loader = build_loader(files.store, files.labels, settings, device)
    trainer = HeldTrainer(loader)
    by_files = build_loader(files.open_files(), files.labels, settings, device)
    count = steps + 2 * QUEUED
    return {
        **build_close_sides(trainer, loader),
        "on the fly": Ours(trainer, by_files),
        "timm": Timm(files, settings, count, device),
        "note": Note(files, settings, count, device),
    }


def measure_model(
    files: Files, settings: MemberSettings, steps: int, rounds: int, device: torch.device
) -> Rates:
    """Images/s of every side and of the fill, by round."""
    sides = build_sides(files, settings, steps, device)
    order = (*sides, *reversed(CLOSE))
    rates: Rates = {key: [] for key in (*sides, "fill")}
    for _ in range(rounds):
        seconds = dict.fromkeys(sides, 0.0)
        for key in order:
            seconds[key] += measure_turn(sides[key], steps, device)
        for key, spent in seconds.items():
            images = order.count(key) * steps * sides[key].batch_size
            rates[key].append(images / spent)
        rates["fill"].append(files.measure_fill())
    return rates


def compare(rates: Rates, ours: str, other: str) -> float:
    """Median over the rounds."""
    pairs = zip(rates[ours], rates[other], strict=True)
    return statistics.median(a / b for a, b in pairs)


def show(console: Console, rates: Rates) -> None:
    """The table of one network, and what the store costs and saves."""
    table = Table("side", "images/s", "to the limit")
    for key, title in TITLES.items():
        share = "–" if key == "fill" else f"{compare(rates, key, 'limit'):.3f}"
        table.add_row(title, f"{statistics.median(rates[key]):,.0f}", share)
    console.print(table)
    idle = 1 - compare(rates, "ours", "same step")
    fill, fly, ours = (statistics.median(rates[key]) for key in ("fill", "on the fly", "ours"))
    saved = 1 / fly - 1 / ours
    paid = f"paid for after epoch {math.ceil(1 / fill / saved)}" if saved > 0 else "not paid for"
    console.print(
        f"ours: the device waits for input {100 * idle:.1f} % of the time (against same step). "
        f"The store takes {1000 / fill:.2f} ms an image once and saves {1000 * saved:.2f} ms an "
        f"image in each epoch (against on the fly): {paid}."
    )


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few short rounds, under a minute")
    parser.add_argument("--model", action="append", help="of timm; may be given several times")
    parser.add_argument("--size", type=int, default=224, help="pixels, a side")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, help="that are timed in a turn of a side")
    parser.add_argument("--rounds", type=int)
    given = parser.parse_args()
    steps, rounds, given.images = (2, 2, 256) if given.quick else (8, 9, 1024)
    # Workers hand batches over in bursts of one each.
    given.steps = given.steps or steps * min(max(2, WORKERS), 16)
    given.rounds = given.rounds or rounds
    given.model = given.model or ["mobilenetv3_small_100"]
    return given


def main() -> None:
    """Measure each network and print the ratios of the first."""
    given = read_arguments()
    device = pick_device()
    prepare_device(device)
    console = Console(width=100)
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        files = Files(Path(folder), given.images, given.size)
        for model in given.model:
            settings = choose_settings(model, given.size, given.batch)
            runs.append(measure_model(files, settings, given.steps, given.rounds, device))
            console.print(
                f"{model}, {given.size} px from {SOURCE} px JPEGs, batches of {given.batch}, on "
                f"{describe_device(device)}; {WORKERS} workers each for timm and note; medians of "
                f"{given.rounds} rounds of {given.steps} steps"
            )
            show(console, runs[-1])
            gc.collect()  # workers, and the memory of the device
            if device.type == "cuda":
                torch.cuda.empty_cache()
    for name, other in RATIOS.items():
        print(f"ratio train_vs_{name} {compare(runs[0], 'ours', other):.3f}")


if __name__ == "__main__":
    main()
