"""Too little memory on the device says what to do about it, wherever it runs out."""

import gc
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from benchmarks.gpu.report import Report
from benchmarks.gpu.sides import build_loader, choose_settings
from benchmarks.gpu.tasks import make_noise_store
from features.errors import DeviceMemoryError
from features.pixels.store import RawStore
from features.settings.training import MemberSettings
from stage1_cnn.networks.network import build_network
from stage1_cnn.scoring.engines import build_torch_engine
from stage1_cnn.scoring.processes import Processes
from stage1_cnn.scoring.rows import score_rows
from stage1_cnn.train.loop import train_network

MODEL, SIDE, ROWS = "resnet50", 256, 512
TRAIN_BYTES = 3 << 30
"""Enough for weights and batches, not for the activations of 512 pictures."""
DUMP_BYTES = 320 << 20
"""Enough for weights and bytes of pictures, not for their activations."""
FEEDING_BYTES = 8 << 20
"""Beside the weights: less than the bytes of one batch."""


def check(report: Report) -> None:
    """A training, a dump, and a dump whose batches do not even get there."""
    if report.small:
        report.skip("train", "needs CUDA")
        return
    with tempfile.TemporaryDirectory() as folder:
        store, labels = make_noise_store(Path(folder), ROWS, SIDE)
        settings = choose_settings(MODEL, SIDE, ROWS)
        loader, here = (
            build_loader(store, labels, settings, report.device),
            Processes(report.device),
        )
        with report.part("train"), limited(report.device, TRAIN_BYTES):
            expect_advice(
                report, "train", "schedule.accumulate=2",
                lambda: train_network(loader.task, here),
            )  # fmt: skip
        with report.part("dump"), limited(report.device, DUMP_BYTES):
            expect_advice(report, "dump", "dump.image_size", lambda: dump(settings, store, here))
        with report.part("feeding"), limited(report.device, None):
            expect_advice(
                report, "feeding", "dump.image_size",
                lambda: dump(settings, store, here, beside=FEEDING_BYTES),
            )  # fmt: skip


@contextmanager
def limited(device: torch.device, size: int | None) -> Iterator[None]:
    """Within it this process may hold so many bytes of the device, and holds none at first."""
    gc.collect()  # what an error still held
    torch.cuda.empty_cache()
    try:
        if size is not None:
            set_limit(device, size)
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def set_limit(device: torch.device, size: int) -> None:
    """So many bytes of the device from here on."""
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(size / total, device)


def dump(
    settings: MemberSettings, store: RawStore, here: Processes, beside: int | None = None
) -> None:
    """Scores all rows; with only so many bytes beside the weights, if that is said."""
    engine = build_torch_engine(build_network(settings), settings, here.device)
    if beside is not None:
        torch.cuda.empty_cache()
        set_limit(here.device, torch.cuda.memory_reserved(here.device) + beside)
    score_rows(engine, store, np.arange(len(store)), here)


def expect_advice(report: Report, name: str, advice: str, run: Callable[[], object]) -> None:
    """`run` must raise `DeviceMemoryError` with that advice."""
    try:
        run()
    except DeviceMemoryError as error:
        report.check(name, advice in str(error), str(error)[:120])
    else:
        report.check(name, False, "there was enough")
