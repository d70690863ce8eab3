"""Images/s: training against a batch that is ready, and a dump against bare forward passes.

train_vs_resident   ours, store to averaged weights, against `limit` of `sides`: forward, backward,
                    AdamW and EMA on one batch on the device
dump_vs_forward     all rows to log-odds and embeddings on the host, against forward passes of one
                    batch, both without the steps that fill a queue

Sides take turns there and back in one process; a ratio is the median over the rounds. Beside them
the rate of the trainer's whole step on one batch, the share of time that it waits for input, the
rate of batches alone, peak memory of training, training out of JPEGs that are decoded at each use,
and with `network.compile` where there is time for it. Pictures are noise, which takes the same
time, and are read from memory. A run without much time has fewer rounds.
"""

import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.gpu.compile import find_missing
from benchmarks.gpu.report import Report
from benchmarks.gpu.sides import (
    HeldTrainer,
    Ours,
    build_close_sides,
    build_loader,
    choose_settings,
    measure_turn,
    wait,
)
from benchmarks.gpu.tasks import make_jpegs, make_noise_store
from benchmarks.gpu.timing import measure_card, profile_steps
from features.core.files import digest_file
from features.pixels.store import FileStore, RawStore
from features.settings.images import Images
from features.settings.learning import Network
from stage1_cnn.networks.devices import fixed_algorithms
from stage1_cnn.networks.network import embed
from stage1_cnn.sampling.loader import BatchLoader
from stage1_cnn.scoring.engines import TorchEngine, build_torch_engine
from stage1_cnn.scoring.feeding import AHEAD
from stage1_cnn.scoring.processes import Processes
from stage1_cnn.scoring.rows import find_batch_size, score_batches, split_batches

SIDE, SMALL_SIDE = 256, 64
NETWORKS = {"resnet50": 256, "tf_efficientnet_b4": 128, "convnext_tiny": 128}
"""Of the reference job, and batches that fill the card."""
SMALL_NETWORKS = {"test_resnet": 8}
TRAIN_SHARE, DUMP_SHARE = 0.95, 0.95
COMPILING = 90.0
"""Seconds that are enough to compile a network and to measure it."""
AFTERWARDS = 35.0
"""Seconds for files and profiles, once the networks are measured."""


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    images: int
    side: int
    turn: float
    """Seconds of one turn."""
    rounds: int


def choose_plan(report: Report) -> Plan:
    """By device and option."""
    if report.small:
        return Plan(64, SMALL_SIDE, 0.2, 1)
    return Plan(2048, SIDE, 0.7, 2) if report.quick else Plan(4096, SIDE, 2.0, 3)


def check(report: Report) -> None:
    """The card, each network, files, and last the profiles, which slow down what follows them."""
    plan, networks = choose_plan(report), SMALL_NETWORKS if report.small else NETWORKS
    if not report.small:
        with report.part("card"):
            measure_card(report)
    with tempfile.TemporaryDirectory() as folder:
        store, labels = make_noise_store(Path(folder), plan.images, plan.side)
        for number, (model, batch) in enumerate(networks.items()):
            free_memory(report)
            share = (report.left - AFTERWARDS) / (len(networks) - number)
            with report.part(model):
                measure_network(report, Work(model, batch, store, labels, plan), share)
        free_memory(report)
        with report.part("on_the_fly"):
            measure_on_the_fly(report, *next(iter(networks.items())), Path(folder), plan)
        free_memory(report)
        model, batch = next(iter(networks.items()))
        with report.part(f"{model}.compiled"):
            measure_compiled(report, Work(model, batch, store, labels, plan))
        for model, batch in networks.items():
            free_memory(report)
            with report.part(f"{model}.profile"):
                profile_network(report, Work(model, batch, store, labels, plan))


def free_memory(report: Report) -> None:
    """Gives back what the last network held, so that the next one's peak is its own."""
    gc.collect()
    if not report.small:
        torch.cuda.empty_cache()


@dataclass(frozen=True)
class Work:
    """One network, its batches, and what it learns from."""

    model: str
    batch: int
    store: RawStore
    labels: npt.NDArray[np.int8]
    plan: Plan

    def start(
        self, device: torch.device, compiled: bool = False
    ) -> tuple[HeldTrainer, BatchLoader]:
        """A training; cuDNN tries its algorithms out, as in any."""
        settings = choose_settings(self.model, self.store.size, self.batch)
        settings = settings.model_copy(update={"network": Network(compile=compiled)})
        torch.manual_seed(0)
        loader = build_loader(self.store, self.labels, settings, device)
        return HeldTrainer(loader), loader


def measure_network(report: Report, work: Work, seconds: float) -> None:
    """Training, batches alone, peak memory and a dump, in about so many seconds."""
    start = time.monotonic()
    trainer, loader = work.start(report.device)
    compare_sides(report, work, trainer, loader, start + 0.65 * seconds)
    measure_feed(report, work.model, loader)
    measure_peak(report, work.model, Ours(trainer, loader))
    with fixed_algorithms():  # as `dump` has it
        compare_dump(report, work, trainer, start + 0.95 * seconds)


def compare_sides(
    report: Report, work: Work, trainer: HeldTrainer, loader: BatchLoader, stop: float
) -> None:
    """Rounds until `time.monotonic()` is `stop`, one at least."""
    device, sides = report.device, build_close_sides(trainer, loader)
    for side in sides.values():
        measure_turn(side, 2, device)
    steps = max(4, round(work.plan.turn * 4 / measure_turn(sides["limit"], 4, device)))
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(work.plan.rounds):
        if number and time.monotonic() > stop:
            break
        for name in (*sides, *reversed(sides)):
            seconds[name].append(measure_turn(sides[name], steps, device))
    for name, spent in seconds.items():
        rate = steps * loader.batch_size / statistics.median(spent)
        report.value(f"{work.model}.{name.replace(' ', '_')}", rate, "images/s")
    share = compare_turns(seconds["limit"], seconds["ours"])
    passed = report.small or share >= TRAIN_SHARE
    report.check(f"{work.model}.train_vs_resident", passed, f"{share:.3f}")
    idle = 1 - compare_turns(seconds["same step"], seconds["ours"])
    report.value(f"{work.model}.waits_for_input", 100 * idle, "%")


def compare_turns(least: list[float], ours: list[float]) -> float:
    """Seconds of `least` / of `ours`; of both turns of a round together, the median of rounds."""
    pairs = zip(least[::2], least[1::2], ours[::2], ours[1::2], strict=True)
    return statistics.median((a + b) / (c + d) for a, b, c, d in pairs)


def measure_feed(report: Report, model: str, loader: BatchLoader) -> None:
    """Batches onto the device with nothing else to do, once the queue is full."""
    steps = 4 if report.small else 40
    batches = loader.iterate(0, steps + AHEAD + 1)
    for _ in range(AHEAD + 1):
        next(batches)
    start = time.perf_counter()
    for _ in batches:
        pass
    wait(report.device)
    rate = steps * loader.batch_size / (time.perf_counter() - start)
    report.value(f"{model}.feed", rate, "images/s")


def measure_peak(report: Report, model: str, ours: Ours) -> None:
    """What tensors take at most in a training, with the batches that wait."""
    if report.small:
        return
    gc.collect()
    torch.cuda.reset_peak_memory_stats(report.device)
    measure_turn(ours, 2, report.device)
    peak = torch.cuda.max_memory_allocated(report.device)
    report.value(f"{model}.peak_memory", peak / 2**30, "GiB")


def compare_dump(report: Report, work: Work, trainer: HeldTrainer, stop: float) -> None:
    """Dumps and forward passes in turn, in rounds until `stop`, one at least."""
    engine = build_torch_engine(trainer.network, trainer.settings, report.device)
    size = min(find_batch_size(engine), len(work.store))
    forward = prepare_forward(engine, work.store, size)
    wait(report.device)
    forward(2)
    count = max(4, round(work.plan.turn * 4 / forward(4)))
    score_all(engine, work.store, size, 4)
    bare: list[float] = []
    ours: list[float] = []
    for number in range(work.plan.rounds):
        if number and time.monotonic() > stop:
            break
        bare.append(forward(count))
        ours += [score_all(engine, work.store, size, count) for _ in range(2)]
        bare.append(forward(count))
    rates = [count * size / statistics.median(spent) for spent in (bare, ours)]
    share = compare_turns(bare, ours)
    report.value(f"{work.model}.forward", rates[0], "images/s")
    report.value(f"{work.model}.dump", rates[1], "images/s")
    passed = report.small or share >= DUMP_SHARE
    report.check(f"{work.model}.dump_vs_forward", passed, f"{share:.3f}")


def prepare_forward(engine: TorchEngine, store: RawStore, size: int) -> Callable[[int], float]:
    """What takes the seconds of so many forward passes of one batch, which is on the device."""
    pixels = torch.from_numpy(store.gather(np.arange(size))).to(engine.device)
    images = engine.normalise(pixels)

    @torch.inference_mode()
    def forward(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            embed(engine.network, images, engine.precision)
        wait(engine.device)
        return time.perf_counter() - start

    return forward


def score_all(engine: TorchEngine, store: RawStore, size: int, count: int) -> float:
    """Seconds of so many batches of a dump. The first one, which fills the queue, is one more."""
    here = Processes(engine.device)
    rows = np.arange((count + 1) * size) % len(store)
    scored = score_batches(engine, store, split_batches(engine, store, rows, here), here)
    next(scored)
    start = time.perf_counter()
    for _ in scored:
        pass
    return time.perf_counter() - start


def measure_on_the_fly(report: Report, model: str, batch: int, folder: Path, plan: Plan) -> None:
    """Training out of 512 px JPEGs, decoded at each use."""
    count, source = (32, 96) if report.small else (256, 512)
    names = make_jpegs(folder, count, source) * 4
    sha256s = [digest_file(folder / name) for name in names]
    files = FileStore(folder, names, sha256s, Images(size=plan.side, store="none"))
    labels = (np.arange(len(names)) % 5 > 0).astype(np.int8)
    settings = choose_settings(model, plan.side, batch)
    loader = build_loader(files, labels, settings, report.device)
    ours = Ours(HeldTrainer(loader), loader)
    measure_turn(ours, 2, report.device)
    steps = 4 if report.small else 16
    rate = steps * loader.batch_size / measure_turn(ours, steps, report.device)
    report.value(f"{model}.on_the_fly", rate, "images/s")


def measure_compiled(report: Report, work: Work) -> None:
    """Training with `network.compile` against the same without, in turn, once both have begun."""
    missing = find_missing(report) or ("time" if report.left < COMPILING + AFTERWARDS else "")
    if missing:
        report.skip(f"{work.model}.compiled", f"needs {missing}")
        return
    plain, compiled = (Ours(*work.start(report.device, wanted)) for wanted in (False, True))
    start = time.perf_counter()
    measure_turn(compiled, 2, report.device)
    report.value(f"{work.model}.compiling", time.perf_counter() - start, "s")
    measure_turn(plain, 2, report.device)
    steps = max(4, round(work.plan.turn * 4 / measure_turn(plain, 4, report.device)))
    turns = [measure_turn(side, steps, report.device) for side in (plain, compiled) * 2]
    ratio = compare_turns(turns[::2], turns[1::2])
    report.value(f"{work.model}.compiled", ratio, "times as fast")


def profile_network(report: Report, work: Work) -> None:
    """Where the time of a training step goes; not without time for it."""
    if report.left < 10:
        report.skip(f"{work.model}.profile", "no time is left")
        return
    profile_steps(report, work.model, Ours(*work.start(report.device)))
