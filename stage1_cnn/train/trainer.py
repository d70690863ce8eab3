"""One network, its optimiser, schedule and average, advanced batch by batch."""

import gc
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn import SyncBatchNorm
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from features.core.manifest import Ids
from features.errors import ConfigError
from features.settings.training import MemberSettings
from stage1_cnn.augment.augmenter import Augmenter
from stage1_cnn.augment.mixing import BLOCK, mix_batch
from stage1_cnn.losses.hypersphere import measure_hypersphere
from stage1_cnn.networks.devices import choose_precision, read_later, send
from stage1_cnn.networks.network import Classifier, build_network
from stage1_cnn.networks.normalise import build_normaliser
from stage1_cnn.sampling.loader import BatchLoader, TrainBatch
from stage1_cnn.scoring.processes import Processes
from stage1_cnn.train.buffers import BufferCopy
from stage1_cnn.train.correction import build_member_loss
from stage1_cnn.train.ema import build_ema
from stage1_cnn.train.optimisers import build_optimizer, build_scheduler, clip_gradients
from stage1_cnn.tuning.learned import LEARNS_STATISTICS, prepare_tuning, set_learning

_log = logging.getLogger("forgerystack")


class Trainer:
    """A training of `total` steps; every process has one, and all take the same steps.

    What is called is the bare network, wrapped for several processes and compiled if asked for;
    all else, the average above all, works on the bare one.
    """

    def __init__(self, loader: BatchLoader) -> None:
        """Raises `ConfigError` for what the device or the processes of `loader` cannot do."""
        settings, seed = loader.task.settings, loader.task.seed
        self.settings, self.seed = settings, seed
        self.processes, self.device = loader.processes, loader.processes.device
        self.loss = build_member_loss(settings, loader.candidates, loader.task.row_weights)
        self.batch_size, steps_per_epoch = loader.batch_size, len(loader)
        schedule, optimizer = settings.schedule, settings.optimizer
        _check_shares(settings, self.batch_size, self.processes)
        self.precision = choose_precision(settings.network.precision, self.device)
        self.total = schedule.count_steps(steps_per_epoch, self.batch_size)
        _check_lengths(settings, steps_per_epoch, self.total)
        self.network = self._build_network()
        self.normalise = build_normaliser(self.network, settings, self.device)
        self.augment = Augmenter(settings.augment, settings.image_size, seed)
        self.optimizer = build_optimizer(self.network, optimizer)
        self.scheduler = build_scheduler(
            self.optimizer, optimizer.lr, schedule, steps_per_epoch, self.total
        )
        # Gradients of float16 would vanish; the factor starts high and halves at each overflow.
        self.scaler = torch.amp.GradScaler(
            self.device.type, enabled=self.precision == torch.float16
        )
        self.ema = build_ema(self.network, settings.ema, steps_per_epoch)
        self.frozen_steps = round(optimizer.frozen_epochs * steps_per_epoch)
        self.step = 0
        self.bad_rows: Ids = np.empty(0, np.int64)
        """Rows of the latest skipped step whose own loss was no number."""
        self._forward: Callable[[Tensor], tuple[Tensor, Tensor | None]] | None = None
        self._hold_back: Callable[[], AbstractContextManager] = nullcontext
        self._before, self._counted = BufferCopy(self.network), BufferCopy(self.network)

    def _build_network(self) -> nn.Module:
        network = build_network(self.settings)
        prepare_tuning(network, self.settings)
        if self.processes.world > 1 and self.settings.optimizer.tune in LEARNS_STATISTICS:
            network = _sync_statistics(network, self.settings, self.device)
        network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.processes.rank:  # dropout must not be the same everywhere
            torch.manual_seed(self.seed + (self.processes.rank << 32))
        return network

    def _wrap(self) -> None:
        """Sets which weights learn, and what is called; both change when a frozen phase ends."""
        frozen = self.step < self.frozen_steps
        set_learning(self.network, "head" if frozen else self.settings.optimizer.tune)
        embeds = self.settings.loss.sees_embeddings
        called: nn.Module = Classifier(self.network, self.precision, embeds)
        if self.processes.world > 1:
            # Before the new one: as long as the old one lives, it adds gradients up as well.
            self._forward = None
            gc.collect()
            called = distributed = DistributedDataParallel(called, gradient_as_bucket_view=True)
            # Where batch norm is shared, so are its statistics: nothing has to be sent. Set here,
            # since the argument has another name from torch 2.13 on.
            shared = any(isinstance(m, SyncBatchNorm) for m in self.network.modules())
            distributed.broadcast_buffers = not shared
            self._hold_back = distributed.no_sync
        self._forward = torch.compile(called) if self.settings.network.compile else called

    def advance(self, batch: TrainBatch) -> float | None:
        """One step on this process's share of a batch, on the device; the loss of the whole batch.

        `None` where that loss is no finite number: then the step is skipped, and neither weights
        nor average nor statistics have changed.
        """
        self.scheduler.step_update(self.step)
        if self._forward is None or self.step == self.frozen_steps:
            self._wrap()
        images, targets, weights = self.prepare(batch)
        row_weights = self.loss.row_weights(targets, weights, self.batch_size, self.processes.add)
        self._before.take()
        self.optimizer.zero_grad()
        loss, by_row = self._descend(images, targets, row_weights)
        self.step += 1
        if not np.isfinite(loss):
            self._before.put_back()
            self.bad_rows = batch.row_ids[~by_row.isfinite().cpu().numpy()]
            return None
        self._update()
        return loss

    def prepare(self, batch: TrainBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Augmented and normalised images `(b, c, h, w)`, targets and row weights."""
        pixels, labels = self.augment(batch.pixels, batch.labels, batch.first_draw, batch.faces)
        images, targets = self.normalise(pixels), send(labels, self.device)
        augment = self.settings.augment
        if augment.mixes:
            first = batch.first_draw - self.step * self.batch_size
            images, targets = mix_batch(images, targets, augment, self.seed, self.step, first)
        return images, targets, batch.weights

    def _descend(
        self, images: Tensor, targets: Tensor, row_weights: Tensor
    ) -> tuple[float, Tensor]:
        """Sets the gradients; returns the loss of the whole batch and that of each row here."""
        call, count = self._forward, self.settings.schedule.accumulate
        assert call is not None
        slices = [t.tensor_split(count) for t in (images, targets, row_weights)]
        seen: list[Tensor] = []
        total, last = torch.zeros((), device=self.device), count - 1
        for i, (some, wanted, counted) in enumerate(zip(*slices, strict=True)):
            # Gradients travel once, with the last slice.
            with self._hold_back() if i < last else nullcontext():
                logits, embeddings = call(some)
                by_row = self.loss.measure(logits, wanted)
                loss = (by_row * counted).sum()
                if embeddings is not None:
                    # Among the rows of this slice, for its share of the batch.
                    share, settings = len(some) / self.batch_size, self.settings.loss
                    loss = loss + share * measure_hypersphere(settings, embeddings, wanted, counted)
                seen.append(by_row.detach())
                total = total + loss.detach()
                if i == last:
                    read = read_later(self.processes.add(total))
                self._add_gradients(loss)
        return float(read()[0]), torch.cat(seen)

    def _add_gradients(self, loss: Tensor) -> None:
        # The processes' gradients are averaged; weights add up over the whole batch.
        scaled = self.scaler.scale(loss * self.processes.world)
        if not self.settings.network.checkpointing:
            scaled.backward()
            return
        # Layers are computed again, and batch norm would count the same pictures twice.
        self._counted.take()
        scaled.backward()
        self._counted.put_back()

    def _update(self) -> None:
        if self.settings.optimizer.clip_grad is not None:
            self.scaler.unscale_(self.optimizer)
            clip_gradients(self.network, self.settings.optimizer)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.ema is not None:
            self.ema.update(self.network, step=self.step)

    @property
    def learns_statistics(self) -> bool:
        """Whether batch norm goes by the rows that are computed at once."""
        learns = self.settings.optimizer.tune in LEARNS_STATISTICS
        return learns and any(isinstance(m, _BatchNorm) for m in self.network.modules())

    @property
    def learning_rate(self) -> float:
        """The rate of the latest step, before any scale of a layer."""
        return max(float(group["lr"]) / group["lr_scale"] for group in self.optimizer.param_groups)

    @property
    def ema_decay(self) -> float | None:
        """The decay of the latest update."""
        return None if self.ema is None else float(self.ema.get_decay(self.step))

    def state_dict(self) -> dict[str, Any]:
        """All that a training goes on from; every process must ask, and each gets all of it."""
        random = [torch.get_rng_state()]
        if self.device.type == "cuda":
            random.append(torch.cuda.get_rng_state(self.device))
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            "ema": None if self.ema is None else self.ema.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": self.processes.collect(random),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from `state_dict()` of a trainer of the same settings; processes may be others.

        A process that was not there before, or had another kind of device, keeps its own random
        numbers.
        """
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        if self.ema is not None:
            self.ema.module.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:  # empty where it began in another precision
            self.scaler.load_state_dict(state["scaler"])
        if self.processes.rank < len(state["random"]):
            host, *device = state["random"][self.processes.rank]
            torch.set_rng_state(host)
            if device and self.device.type == "cuda":
                torch.cuda.set_rng_state(device[0], self.device)
        self._forward = None


def _sync_statistics(
    network: nn.Module, settings: MemberSettings, device: torch.device
) -> nn.Module:
    """`network` with its batch norm over the batches of all processes, where that can be had."""
    if not any(isinstance(module, _BatchNorm) for module in network.modules()):
        return network
    if settings.network.sync_bn and device.type == "cuda":
        return convert_sync_batchnorm(network)
    reason = "needs GPUs" if settings.network.sync_bn else "is switched off"
    _log.warning(
        "batch norm: each process has statistics of its own, so the number of processes changes "
        "the result (network.sync_bn %s)", reason,
    )  # fmt: skip
    return network


def _check_shares(settings: MemberSettings, batch: int, processes: Processes) -> None:
    """Raises `ConfigError` where a batch of so many rows cannot be shared out to the processes."""
    parts, least = settings.schedule.accumulate, 1 + settings.loss.sees_embeddings
    problems = []
    if batch < processes.world * parts * least:
        pairs = (
            ", which loss.alignment and loss.uniformity want two rows each of" if least > 1 else ""
        )
        problems.append(
            f"a batch of {batch} is too small for {processes.world} processes × "
            f"schedule.accumulate {parts}{pairs}"
        )
    if settings.augment.mixes and processes.world > 1 and batch % (BLOCK * processes.world):
        problems.append(
            f"a batch of {batch}: with augment.mixup or augment.cutmix in "
            f"{processes.world} processes it must be a multiple of {BLOCK * processes.world}"
        )
    if problems:
        raise ConfigError("params.yaml", problems)


def _check_lengths(settings: MemberSettings, steps_per_epoch: int, total: int) -> None:
    """Raises `ConfigError` for an average that would still hold the untrained weights, and for a
    frozen start that never ends.

    With `schedule.epochs` that was found when the settings were read.
    """
    if settings.schedule.images is None:
        return
    epochs, problems = total / steps_per_epoch, []
    half_life, frozen = settings.ema.half_life_epochs, settings.optimizer.frozen_epochs
    if half_life is not None and 3 * half_life > epochs:
        problems.append(
            f"ema.half_life_epochs {half_life} is more than a third of the training, "
            f"{epochs:.2g} epochs"
        )
    if frozen > 0 and frozen >= epochs:
        problems.append(
            f"optimizer.frozen_epochs {frozen:g}: the training has {epochs:.2g} epochs. If the "
            "head alone should learn, set optimizer.tune head"
        )
    if problems:
        raise ConfigError("params.yaml", problems)
