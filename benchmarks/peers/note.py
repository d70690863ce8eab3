"""The loop of the note that the project starts from."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from timm.utils import ModelEmaV2
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler
from torchvision import transforms

from benchmarks.gpu.sides import RATE
from benchmarks.peers.labelled_files import QUEUED, WORKERS, Files
from benchmarks.pictures.jpegs import MEAN, STD
from features.settings.training import MemberSettings


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
