"""The batches that one member learns from."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from features.images import Pixels
from features.manifest import Ids, LearnRows
from features.store import ImageStore
from features.train_params import MemberSettings
from stage1_cnn.batches import Flips, draw_flips
from stage1_cnn.samplers import build_batches


@dataclass(frozen=True)
class Batch:
    """Rows of one step: pixels uint8 `(b, s, s, 3)`, labels int64 and weights float32 `(b,)`.

    `flips` `(2, b)` says which images the device turns over; `None`: none.
    """

    row_ids: Ids
    pixels: Pixels
    labels: Tensor
    weights: Tensor
    flips: Flips | None = None


class ImageDataset(Dataset[Batch]):
    """Rows of a store with labels and weights `(n,)`; whole batches by one gather."""

    def __init__(
        self,
        store: ImageStore,
        labels: npt.NDArray[np.integer],
        weights: npt.NDArray[np.float64],
    ) -> None:
        self.store, self.labels, self.weights = store, labels, weights

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, row: int) -> Batch:
        return self.__getitems__([row])

    def __getitems__(self, rows: Sequence[int] | Ids) -> Batch:
        """What torch's `DataLoader` calls with the indices of a batch."""
        row_ids = np.asarray(rows, np.int64)
        return Batch(
            row_ids,
            self.store.gather(row_ids),
            torch.from_numpy(self.labels[row_ids].astype(np.int64)),
            torch.from_numpy(self.weights[row_ids].astype(np.float32)),
        )


class BatchLoader:
    """What one member learns from, step by step; each batch is a pure function of (seed, step).

    `labels` and `weights` `(n,)` are those of all rows of the store; only `rows` are ever loaded.
    """

    def __init__(
        self,
        store: ImageStore,
        rows: LearnRows,
        labels: npt.NDArray[np.integer],
        weights: npt.NDArray[np.float64],
        settings: MemberSettings,
        seed: int,
    ) -> None:
        self.dataset = ImageDataset(store, labels, weights)
        self.rows, self.augment, self.seed = rows, settings.augment, seed
        size = min(settings.schedule.batch_size, len(rows.row_ids))
        self.sampler = build_batches(labels[rows.row_ids], settings.sampling, size, seed)

    def __len__(self) -> int:
        """Steps of one epoch."""
        return len(self.sampler)

    def row_ids(self, step: int) -> Ids:
        """`(b,)` rows of a step, counted over all epochs from 0."""
        return self.rows.row_ids[self.sampler.batch(step)]

    def load(self, step: int) -> Batch:
        """The batch of one step."""
        batch = self.dataset.__getitems__(self.row_ids(step))
        return replace(batch, flips=draw_flips(self.augment, len(batch.row_ids), self.seed, step))

    def iterate(self, first: int, stop: int) -> Iterator[Batch]:
        """Batches of the steps `first` … `stop - 1`; the next one is loaded beside the training."""
        with ThreadPoolExecutor(1) as beside:
            coming = beside.submit(self.load, first)
            for step in range(first, stop):
                batch = coming.result()
                if step + 1 < stop:
                    coming = beside.submit(self.load, step + 1)
                yield batch
