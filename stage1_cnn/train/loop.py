"""The training of one member on values: rows in, weights and history out.

trained = train_network(task, processes, session)
"""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from features.errors import NotFiniteError
from features.pixels.store import ImageStore
from features.runtime.interruption import Interruption
from features.runtime.progress import Meter, show_progress, track
from features.settings.training import MemberSettings
from stage1_cnn.networks.devices import tell_memory
from stage1_cnn.runtime.input_wait import InputWait, advise_batch, advise_input
from stage1_cnn.runtime.session import Session
from stage1_cnn.sampling.draws import DrawCounter
from stage1_cnn.sampling.loader import BatchLoader
from stage1_cnn.sampling.training_task import TrainingTask
from stage1_cnn.scoring.processes import Processes
from stage1_cnn.train.trainer import Trainer
from stage1_cnn.tuning.learned import ParameterCount, count_weights
from stage1_cnn.tuning.low_rank import merge_low_rank

_log = logging.getLogger("forgerystack")
Row = dict[str, Any]
"""Numbers; `None` where nothing was measured."""
CURVE_COLUMNS = ("raw_auc", "ema_auc", "raw_log_loss", "ema_log_loss")
LONG = 60.0
"""Seconds of an epoch from which on it is worth advice."""
MeasureCurve = Callable[[nn.Module, nn.Module | None], Mapping[str, float | None]]
"""Those columns for the network and its average, if there is one: `fold_curve.Curve`."""


@dataclass
class Trained:
    """What training gives: weights by name, and one history row per epoch."""

    last_state: dict[str, Tensor]
    """The last weights."""
    ema_state: dict[str, Tensor] | None
    """Their moving average, if there is one."""
    parameters: ParameterCount
    history: list[Row] = field(default_factory=list)
    seconds: float = 0.0
    """That this run took for `images` of all `total` that are learned from."""
    images: int = 0
    total: int = 0
    encoder: str = ""
    """Of a frozen encoder, as of `MemberId`."""

    @property
    def state(self) -> dict[str, Tensor]:
        """The weights that are kept."""
        return self.last_state if self.ema_state is None else self.ema_state


class EpochPace(NamedTuple):
    """What an epoch took, as far as this run has seen it."""

    images: int
    seconds: float
    waited: float
    """Seconds in which the device had no pictures."""

    @property
    def waiting_share(self) -> float:
        """In 0 … 1."""
        return min(1.0, self.waited / self.seconds)


@dataclass
class Progress:
    """What a training has seen so far."""

    history: list[Row] = field(default_factory=list)
    loss_sum: float = 0.0
    """Of the steps of this epoch that were not skipped."""
    steps: int = 0
    skipped: int = 0
    """Of this epoch."""
    skipped_in_row: int = 0

    def add(self, loss: float | None) -> None:
        """A step; `None` for one that was skipped."""
        if loss is None:
            self.skipped += 1
            self.skipped_in_row += 1
        else:
            self.loss_sum += loss
            self.steps += 1
            self.skipped_in_row = 0

    def describe(self, epochs: int) -> str:
        """`epoch 2/10, loss 0.4321`: the mean of the epoch so far."""
        loss = f", loss {self.loss_sum / self.steps:.4f}" if self.steps else ""
        return f"epoch {len(self.history) + 1}/{epochs}{loss}"

    def end_epoch(self, trainer: Trainer, curve: Row, draws: Row) -> Row:
        """Adds a row to the history, returns it, and begins the next epoch."""
        # Seconds stay out of it: on a CPU same seed and machine, same bytes.
        row: Row = {
            "epoch": len(self.history) + 1,
            "loss": self.loss_sum / self.steps if self.steps else float("nan"),
            "lr": trainer.learning_rate,
            "skipped": self.skipped,
        }
        if trainer.ema_decay is not None:
            row["ema_decay"] = trainer.ema_decay
        self.history.append(row | curve | draws)
        self.loss_sum, self.steps, self.skipped = 0.0, 0, 0
        return self.history[-1]


def train_network(
    task: TrainingTask,
    processes: Processes,
    session: Session | None = None,
    measure_curve: MeasureCurve | None = None,
    start: int | None = None,
) -> Trained:
    """Trains on `task.rows` only, by a fixed schedule.

    Goes on from the state that `session` has kept, if any. What `measure_curve` finds after each
    epoch goes into its history row and nowhere else. Raises `Stopped`, `NotFiniteError`,
    `DeviceMemoryError`.

    `start`: seed of the weights that are drawn, where another one than `task.seed` is asked for.
    """
    torch.manual_seed(task.seed if start is None else start)
    session = session or Session(processes, Interruption())
    loader = BatchLoader(task, processes)
    progress = Progress()
    with tell_memory(processes.device, advise_less(task.settings, True)):
        trainer = Trainer(loader)
    advice = advise_less(task.settings, trainer.learns_statistics)
    with tell_memory(processes.device, advice):
        if start not in (None, task.seed):
            torch.manual_seed(task.seed + (processes.rank << 32))
        if state := session.restore():
            trainer.load_state_dict(state["trainer"])
            progress = Progress(**state["progress"])
            _log.info("goes on after step %s of %s", f"{trainer.step:,}", f"{trainer.total:,}")
        began, first = time.perf_counter(), trainer.step
        _take_steps(trainer, loader, progress, session, measure_curve)
    seconds = time.perf_counter() - began
    averaged = None if trainer.ema is None else _copy_state(trainer.ema.module)
    return Trained(
        last_state=_copy_state(trainer.network),
        ema_state=averaged,
        parameters=count_weights(trainer.network),
        history=progress.history,
        seconds=seconds,
        images=(trainer.total - first) * loader.batch_size,
        total=trainer.total * loader.batch_size,
    )


def advise_less(settings: MemberSettings, learns_statistics: bool) -> str:
    """How a step takes less memory; of two ways the one first that changes no result.

    `learns_statistics`: as of `Trainer`.
    """
    parts = f"schedule.accumulate={2 * settings.schedule.accumulate}"
    if not learns_statistics and not settings.loss.sees_embeddings:
        return f"Compute each batch in parts, with the same result: {parts}"
    seen = "batch norm" if learns_statistics else "loss.alignment and loss.uniformity"
    apart = f"ompute each batch in parts, of which {seen} sees one at a time: {parts}"
    if settings.network.checkpointing:
        return f"C{apart}"
    return f"With the same result: network.checkpointing=true. Or c{apart}"


def _copy_state(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu() for name, value in merge_low_rank(network).items()}


def _take_steps(
    trainer: Trainer,
    loader: BatchLoader,
    progress: Progress,
    session: Session,
    measure_curve: MeasureCurve | None,
) -> None:
    """All steps that are left; history rows at the ends of epochs and of the training."""
    first, total, epoch = trainer.step, trainer.total, len(loader)
    counter = _count_draws(loader, first)
    start, images, curve_seconds = time.perf_counter(), 0, 0.0

    def make_state() -> dict[str, Any]:
        return {"trainer": trainer.state_dict(), "progress": asdict(progress)}

    wait = InputWait(trainer.device)
    each, epochs = loader.batch_size, -(-total // epoch)
    with _show_steps(trainer, each) as meter:
        for batch in wait.watch(loader.iterate(first, total)):
            progress.add(trainer.advance(batch))
            if progress.skipped_in_row > trainer.settings.schedule.max_skipped:
                raise _describe_bad_steps(trainer, progress)
            counter.count(batch.drawn)
            images += each
            meter.advance(each, progress.describe(epochs))
            if trainer.step % epoch == 0 or trainer.step == total:
                ended = time.perf_counter()
                curve = _measure_curve(trainer, measure_curve)
                row = progress.end_epoch(trainer, curve, counter.summarise())
                pace = EpochPace(images, ended - start, wait.seconds)
                _log_epoch(row, trainer, epochs, pace)
                _log_advice(row, trainer, loader.task.store, pace)
                start, images, wait.seconds = time.perf_counter(), 0, 0.0
                curve_seconds = start - ended
            next_ends = (trainer.step + 1) % epoch == 0 or trainer.step + 1 == total
            after_next = curve_seconds if next_ends else 0.0
            session.settle(trainer.step, total, each, make_state, after_next)


def _measure_curve(trainer: Trainer, measure_curve: MeasureCurve | None) -> Row:
    """`CURVE_COLUMNS` of a history row."""
    row: Row = dict.fromkeys(CURVE_COLUMNS)
    if measure_curve is not None:
        ema = None if trainer.ema is None else trainer.ema.module
        row |= measure_curve(trainer.network, ema)
    return row


def _show_steps(trainer: Trainer, images: int) -> AbstractContextManager[Meter]:
    """What to advance by the images of each step."""
    return show_progress(
        f"train {trainer.settings.model}", trainer.total * images, "images",
        trainer.step * images, trainer.processes.is_first,
    )  # fmt: skip


def _count_draws(loader: BatchLoader, steps: int) -> DrawCounter:
    """What the first `steps` have drawn, counted anew: the draws are a function of the step."""
    candidates = loader.candidates
    counter = DrawCounter(candidates.labels, loader.processes.world, candidates.groups)
    for step in track(range(steps), "count draws so far", steps, unit="steps"):
        counter.count(loader.batches.batch(step))
        if (step + 1) % len(loader) == 0:
            counter.summarise()
    return counter


def _describe_bad_steps(trainer: Trainer, progress: Progress) -> NotFiniteError:
    parts = trainer.processes.collect(trainer.bad_rows.tolist())
    bad, count = [row for part in parts for row in part], progress.skipped_in_row
    what = f"loss of {count} steps in a row, {trainer.step - count + 1} to {trainer.step}"
    return NotFiniteError(what, None if len(bad) == trainer.batch_size else bad)


def _log_epoch(row: Row, trainer: Trainer, epochs: int, pace: EpochPace) -> None:
    _log.info(
        "epoch %d/%d: loss %.4f, lr %.2e%s%s, %.0f %% reals drawn%s%s, %.0f images/s, "
        "%.0f %% of the time waiting for pictures",
        row["epoch"], epochs, row["loss"], row["lr"], _describe_curve(row),
        f", EMA decay {row['ema_decay']:.4f}" if "ema_decay" in row else "",
        100 * row["real_share"],
        f", {100 * row['paired_share']:.0f} % in pairs" if "paired_share" in row else "",
        f", {row['skipped']:.0f} steps skipped" if row["skipped"] else "",
        pace.images / pace.seconds, 100 * pace.waiting_share,
    )  # fmt: skip


def _log_advice(row: Row, trainer: Trainer, store: ImageStore, pace: EpochPace) -> None:
    """Once, after the first epoch: how the device could be used better."""
    if row["epoch"] == 1 and pace.seconds >= LONG:
        damaged = trainer.settings.augment.web
        waiting = advise_input(pace.waiting_share, store, damaged)
        for advice in (waiting, advise_batch(trainer.device)):
            if advice:
                _log.info("%s", advice)


def _describe_curve(row: Row) -> str:
    """`, AUC 0.912, of the average 0.934`; empty where none was measured."""
    last = "" if row["raw_auc"] is None else f", AUC {row['raw_auc']:.3f}"
    return last if row["ema_auc"] is None else f"{last}, of the average {row['ema_auc']:.3f}"
