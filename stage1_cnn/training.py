"""The training of one member on values: rows in, weights and history out."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from features.errors import NotFiniteError
from features.manifest import LearnRows, Manifest
from features.store import ImageStore
from features.train_params import MemberSettings
from stage1_cnn.augment import Augmenter
from stage1_cnn.batches import build_normaliser
from stage1_cnn.correction import build_member_loss
from stage1_cnn.draws import DrawCounter
from stage1_cnn.ema import build_ema
from stage1_cnn.loader import Batch, BatchLoader
from stage1_cnn.losses import RowLoss
from stage1_cnn.mixing import mix_batch
from stage1_cnn.network import build_network
from stage1_cnn.optimisers import (
    build_optimizer,
    build_scheduler,
    clip_gradients,
    freeze_backbone,
)

Wrap = Callable[[nn.Module], nn.Module]
_log = logging.getLogger("forgerystack")


@dataclass
class Trained:
    """What training gives: weights by name, and one history row per epoch."""

    raw_state: dict[str, Tensor]
    """The last weights."""
    ema_state: dict[str, Tensor] | None
    """Their moving average, if there is one."""
    parameters: int
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def state(self) -> dict[str, Tensor]:
        """The weights that are kept."""
        return self.raw_state if self.ema_state is None else self.ema_state


class Trainer:
    """One network, its optimiser, schedule and average, advanced batch by batch.

    `wrap` makes what is called out of the bare network, such as `torch.compile`; all else, the
    average above all, works on the bare one.
    """

    def __init__(
        self,
        settings: MemberSettings,
        loss: RowLoss,
        steps_per_epoch: int,
        seed: int,
        device: torch.device,
        wrap: Wrap | None = None,
    ) -> None:
        self.settings, self.loss, self.device, self.seed = settings, loss, device, seed
        self.amp = device.type == "cuda"
        self.network = build_network(settings)
        self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.forward = wrap(self.network) if wrap else self.network
        self.normalise = build_normaliser(self.network, settings, device)
        self.augment = Augmenter(settings.augment, settings.image_size, seed)
        self.optimizer = build_optimizer(self.network, settings.optimizer)
        self.scheduler = build_scheduler(
            self.optimizer, settings.optimizer.lr, settings.schedule, steps_per_epoch
        )
        self.ema = build_ema(self.network, settings.ema, steps_per_epoch)
        self.frozen_steps = round(settings.optimizer.frozen_epochs * steps_per_epoch)
        self.step = 0

    def advance(self, batch: Batch) -> Tensor:
        """One step on one batch; returns its loss, still on the device."""
        self.scheduler.step_update(self.step)
        if self.step in (0, self.frozen_steps):
            freeze_backbone(self.network, self.step < self.frozen_steps)
        images, targets, weights = self._prepare(batch)
        shares = self.loss.share_out(targets, weights)
        self.optimizer.zero_grad()
        count = self.settings.schedule.accumulate
        parts = zip(images.chunk(count), targets.chunk(count), shares.chunk(count), strict=True)
        total = sum(self._descend(*part) for part in parts)
        clip_gradients(self.network, self.settings.optimizer)
        self.optimizer.step()
        self.step += 1
        if self.ema is not None:
            self.ema.update(self.network, step=self.step)
        return torch.as_tensor(total)

    def _prepare(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Augmented and normalised images `(b, c, h, w)`, targets and row weights."""
        pixels = torch.from_numpy(batch.pixels).to(self.device)
        labels, weights = batch.labels.to(self.device), batch.weights.to(self.device)
        pixels, targets = self.augment(pixels, labels, batch.first_draw)
        images = self.normalise(pixels)
        if self.settings.augment.mixup + self.settings.augment.cutmix > 0:
            images, targets = mix_batch(
                images, targets, self.settings.augment, self.seed, self.step
            )
        return images, targets, weights

    def _descend(self, images: Tensor, targets: Tensor, shares: Tensor) -> Tensor:
        """Adds the gradients of a part of a batch; returns what it adds to the loss."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
            logits = self.forward(images)
        loss = (self.loss.measure(logits, targets) * shares).sum()
        loss.backward()
        return loss.detach()

    @property
    def learning_rate(self) -> float:
        """The rate of the latest step, before any scale of a layer."""
        return max(float(group["lr"]) / group["lr_scale"] for group in self.optimizer.param_groups)

    @property
    def ema_decay(self) -> float | None:
        """The decay of the latest update."""
        return None if self.ema is None else float(self.ema.get_decay(self.step))

    def state_dict(self) -> dict[str, Any]:
        """All that a training goes on from."""
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            "ema": None if self.ema is None else self.ema.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rng": torch.get_rng_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from `state_dict()` of a trainer of the same settings."""
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        if self.ema is not None:
            self.ema.module.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"])
        freeze_backbone(self.network, self.step < self.frozen_steps)


def train_network(
    settings: MemberSettings,
    store: ImageStore,
    train: Manifest,
    rows: LearnRows,
    seed: int,
    device: torch.device,
) -> Trained:
    """Trains on `rows` of the train manifest only. A fixed schedule; raises `NotFiniteError`."""
    torch.manual_seed(seed)
    loader = BatchLoader(store, train, rows, settings, seed)
    loss = build_member_loss(settings, loader.candidates, train.weights[rows.row_ids])
    trainer = Trainer(settings, loss, len(loader), seed, device)
    counter = DrawCounter(loader.candidates.labels)
    history = [
        _train_epoch(trainer, loader, counter, epoch) for epoch in range(settings.schedule.epochs)
    ]
    averaged = None if trainer.ema is None else _copy_state(trainer.ema.module)
    parameters = sum(p.numel() for p in trainer.network.parameters())
    return Trained(_copy_state(trainer.network), averaged, parameters, history)


def _copy_state(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu() for name, value in network.state_dict().items()}


def _train_epoch(
    trainer: Trainer, loader: BatchLoader, counter: DrawCounter, epoch: int
) -> dict[str, float]:
    start, images = time.perf_counter(), 0
    losses = []
    first = epoch * len(loader)
    for batch in loader.iterate(first, first + len(loader)):
        losses.append(trainer.advance(batch))
        counter.count(batch.drawn)
        images += len(batch.row_ids)
    finite = torch.stack(losses).isfinite().cpu().numpy()
    if not finite.all():
        bad = first + int(np.argmin(finite))
        raise NotFiniteError(f"loss at step {bad}", loader.load(bad).row_ids)
    loss, decay, draws = float(torch.stack(losses).mean()), trainer.ema_decay, counter.summarise()
    _log.info(
        "epoch %d/%d: loss %.4f, lr %.2e%s, %.0f %% reals drawn, %.0f images/s",
        epoch + 1, trainer.settings.schedule.epochs, loss, trainer.learning_rate,
        "" if decay is None else f", EMA decay {decay:.4f}", 100 * draws["real_share"],
        images / (time.perf_counter() - start),
    )  # fmt: skip
    # Seconds stay out of the history: same seed and machine, same bytes.
    row = {"epoch": epoch + 1, "loss": loss, "lr": trainer.learning_rate}
    return {**row, **({} if decay is None else {"ema_decay": decay}), **draws}
