"""Ways to train the same network that differ by little, and the time that a turn of one takes.

limit        forward, backward, optimiser (fused AdamW) and EMA on one batch that is ready
same step    our Trainer's whole step on that batch
ours         BatchLoader and Trainer, from the store to averaged weights
"""

import itertools
import time
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from features.core.manifest import Manifest
from features.pixels.store import ImageStore
from features.settings.learning import Augment, Ema, Loss, Network, Optimizer, Sampling, Schedule
from features.settings.training import MemberSettings, Weights
from stage1_cnn.networks.network import Classifier
from stage1_cnn.sampling.loader import BatchLoader, TrainBatch
from stage1_cnn.sampling.training_task import TrainingTask
from stage1_cnn.scoring.feeding import AHEAD
from stage1_cnn.scoring.processes import Processes
from stage1_cnn.train.trainer import Trainer

LEAST = 2
"""Steps of a turn that are not timed, at least."""
RATE, SEED = 1e-4, 0


class Side(Protocol):
    """One way to train. A turn is `ahead` steps, those that are timed, and `ahead` batches."""

    ahead: int
    batch_size: int

    def start(self, count: int) -> Iterator[Any]:
        """The batches of one turn."""
        ...

    def step(self, batch: Any) -> object:
        """Learns from one batch."""
        ...


class HeldTrainer(Trainer):
    """Our trainer, which can be given what it would make of every batch."""

    held: tuple[Tensor, Tensor, Tensor] | None = None

    def prepare(self, batch: TrainBatch) -> tuple[Tensor, Tensor, Tensor]:
        return super().prepare(batch) if self.held is None else self.held


def choose_settings(model: str, size: int, batch: int) -> MemberSettings:
    """A training that does not end: flips, EMA, fused AdamW, the precision of the device."""
    return MemberSettings(
        model=model,
        pretrained=False,
        image_size=size,
        sampling=Sampling(),
        loss=Loss(),
        optimizer=Optimizer(lr=RATE),
        schedule=Schedule(epochs=None, images=10**9, batch_size=batch, decay="constant"),
        ema=Ema(decay=0.999),
        augment=Augment(hflip=0.5, vflip=0.5),
        network=Network(),
        weights=Weights(),
        seed=SEED,
    )


def build_loader(
    store: ImageStore, labels: npt.NDArray[np.int8], settings: MemberSettings, device: torch.device
) -> BatchLoader:
    """Ours, of the columns of a manifest that it looks at; row 0 alone is left out."""
    folds = (np.arange(len(labels)) == 0).astype(np.int16)
    table = pd.DataFrame({"label": labels, "weight": 1.0, "draw_weight": 1.0, "fold": folds})
    train = Manifest("train", table, digest="")
    task = TrainingTask(settings, store, train, train.rows_to_learn(1), SEED)
    return BatchLoader(task, Processes(device))


class Ours:
    """The real loader and the real trainer."""

    ahead = AHEAD + 1

    def __init__(self, trainer: HeldTrainer, loader: BatchLoader) -> None:
        self.trainer, self.loader, self.done = trainer, loader, 0
        self.batch_size = loader.batch_size

    def start(self, count: int) -> Iterator[TrainBatch]:
        """See `Side`."""
        self.done += count
        return self.loader.iterate(self.done - count, self.done)

    def step(self, batch: TrainBatch) -> object:
        """See `Side`."""
        return self.trainer.advance(batch)


class SameStep:
    """The trainer's step on one batch that is ready."""

    ahead = LEAST

    def __init__(self, trainer: HeldTrainer, loader: BatchLoader) -> None:
        self.trainer, self.batch_size = trainer, loader.batch_size
        (self.batch,) = loader.iterate(0, 1)
        self.ready = trainer.prepare(self.batch)

    def start(self, count: int) -> Iterator[TrainBatch]:
        """See `Side`."""
        return itertools.repeat(self.batch, count)

    def step(self, batch: TrainBatch) -> object:
        """See `Side`."""
        self.trainer.held = self.ready
        try:
            return self.trainer.advance(batch)
        finally:
            self.trainer.held = None


class Limit(SameStep):
    """Nothing but the arithmetic, with the same network, optimiser, EMA and precision."""

    def step(self, batch: TrainBatch) -> object:
        """See `Side`."""
        trainer, (images, labels, _) = self.trainer, self.ready
        assert trainer.ema is not None
        trainer.optimizer.zero_grad()
        logits, _ = Classifier(trainer.network, trainer.precision)(images)
        loss = cross_entropy(logits, labels)
        trainer.scaler.scale(loss).backward()
        trainer.scaler.step(trainer.optimizer)
        trainer.scaler.update()
        trainer.ema.update(trainer.network, step=trainer.step)
        return None


def build_close_sides(trainer: HeldTrainer, loader: BatchLoader) -> dict[str, Side]:
    """Those that differ by little, by name; they share the trainer and its network."""
    return {
        "limit": Limit(trainer, loader),
        "same step": SameStep(trainer, loader),
        "ours": Ours(trainer, loader),
    }


def measure_turn(side: Side, steps: int, device: torch.device) -> float:
    """Seconds of so many steps, with queues as they are in the midst of a training."""
    batches = side.start(steps + 2 * side.ahead)
    for batch in itertools.islice(batches, side.ahead):
        side.step(batch)
    wait(device)
    start = time.perf_counter()
    for batch in itertools.islice(batches, steps):
        side.step(batch)
    wait(device)
    seconds = time.perf_counter() - start
    for _ in batches:
        pass
    return seconds


def wait(device: torch.device) -> None:
    """Until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
