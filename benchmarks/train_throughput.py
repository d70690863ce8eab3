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
import itertools
import math
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import timm
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from timm.data import create_dataset, create_loader, resolve_data_config
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.utils import ModelEmaV2, ModelEmaV3, NativeScaler
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler
from torchvision import transforms

from benchmarks.gpu.sides import (
    RATE,
    SEED,
    HeldTrainer,
    Ours,
    Side,
    build_close_sides,
    build_loader,
    choose_settings,
    measure_turn,
)
from benchmarks.images import MEAN, SOURCE, STD, make_images
from features.core.files import digest_file
from features.pixels.cache import ImageCache
from features.pixels.store import FileStore, RawStore
from features.settings.images import NO_LIMITS, Images
from features.settings.training import MemberSettings
from stage1_cnn.networks.devices import describe_device, pick_device, prepare_device

WORKERS = joblib.cpu_count()
QUEUED = 2 * WORKERS
"""Batches that a DataLoader's workers are ahead by: its default, two each."""
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


class Timm:
    """timm's recipe, by timm's parts."""

    ahead = QUEUED

    def __init__(
        self, files: Files, settings: MemberSettings, count: int, device: torch.device
    ) -> None:
        size, batch = settings.image_size, settings.schedule.batch_size
        self.batch_size = batch
        self.device, self.on_cuda = device, device.type == "cuda"
        self.network = timm.create_model(settings.model, num_classes=2)
        self.network.to(device=device, memory_format=torch.channels_last).train()
        self.optimizer = create_optimizer_v2(self.network, "adamw", lr=RATE, weight_decay=2e-5)
        self.scaler = NativeScaler() if self.on_cuda else None
        self.ema, self.steps = ModelEmaV3(self.network, decay=0.9998), 0
        self.measure_loss = LabelSmoothingCrossEntropy(0.1)
        data = resolve_data_config({"input_size": (3, size, size)}, model=self.network)
        dataset = create_dataset("", root=str(files.root), is_training=True, batch_size=batch)
        samples = itertools.cycle(dataset.reader.samples)  # so that a turn is an epoch
        dataset.reader.samples = list(itertools.islice(samples, count * batch))
        self.loader = create_loader(
            dataset,
            input_size=data["input_size"],
            batch_size=batch,
            is_training=True,
            interpolation="random",
            mean=data["mean"],
            std=data["std"],
            num_workers=WORKERS,
            device=device,
            use_prefetcher=self.on_cuda,
            pin_memory=self.on_cuda,
        )

    def start(self, count: int) -> Iterator[Any]:
        """See `Side`."""
        return iter(self.loader)

    def step(self, batch: Any) -> object:
        """See `Side`."""
        images, labels = batch
        images = images.to(self.device).contiguous(memory_format=torch.channels_last)
        labels = labels.to(self.device)
        with torch.autocast("cuda", torch.float16) if self.on_cuda else nullcontext():
            loss = self.measure_loss(self.network(images), labels)
        if self.scaler is not None:
            self.scaler(loss, self.optimizer)
        else:
            loss.backward()
            self.optimizer.step()
        read = loss.item()
        self.steps += 1
        self.optimizer.zero_grad()
        self.ema.update(self.network, step=self.steps)
        return read


class NoteDataset(Dataset[tuple[Tensor, int]]):
    """The note's: an image at a time."""

    def __init__(self, files: Files) -> None:
        self.root, self.names, self.labels = files.root, files.names, files.labels.tolist()
        self.chain = transforms.Compose(
            [
                transforms.Resize((files.size, files.size)),
                transforms.RandomHorizontalFlip(),
                transforms.RandomVerticalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        image = Image.open(self.root / self.names[row]).convert("RGB")
        return self.chain(image), self.labels[row]


class Note:
    """The note's loop."""

    ahead = QUEUED

    def __init__(
        self, files: Files, settings: MemberSettings, count: int, device: torch.device
    ) -> None:
        batch = self.batch_size = settings.schedule.batch_size
        self.device = device
        self.network = timm.create_model(settings.model, num_classes=2).to(device).train()
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=RATE)
        self.ema = ModelEmaV2(self.network, decay=0.9)
        self.measure_loss = nn.CrossEntropyLoss()
        weights = (len(files.labels) / np.bincount(files.labels))[files.labels]
        self.loader = DataLoader(
            NoteDataset(files),
            batch_size=batch,
            sampler=WeightedRandomSampler(torch.from_numpy(weights), count * batch),
            num_workers=WORKERS,
            pin_memory=device.type == "cuda",
            persistent_workers=True,
        )

    def start(self, count: int) -> Iterator[Any]:
        """See `Side`."""
        return iter(self.loader)

    def step(self, batch: Any) -> object:
        """See `Side`."""
        images, labels = (tensor.to(self.device, non_blocking=True) for tensor in batch)
        logits = self.network(images)
        loss = self.measure_loss(logits, labels)
        read = loss.item(), (logits.argmax(1) == labels).float().mean().item()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.ema.update(self.network)
        return read


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
