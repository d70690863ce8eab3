"""timm's train.py, as far as a step goes."""

import itertools
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import timm
import torch
from timm.data import create_dataset, create_loader, resolve_data_config
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.utils import ModelEmaV3, NativeScaler

from benchmarks.gpu.sides import RATE
from benchmarks.peers.labelled_files import QUEUED, WORKERS, Files
from features.settings.training import MemberSettings


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
