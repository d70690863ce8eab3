"""The batches that one member learns from."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from features.images import Pixels
from features.learning_params import Sampling
from features.manifest import Ids, LearnRows, Manifest
from features.store import ImageStore
from features.train_params import MemberSettings
from stage1_cnn.samplers import Candidates, build_batches, slice_for_rank


@dataclass(frozen=True)
class Batch:
    """Rows of one step: pixels uint8 `(b, s, s, 3)`, labels int64 and weights float32 `(b,)`."""

    row_ids: Ids
    pixels: Pixels
    labels: Tensor
    weights: Tensor
    first_draw: int
    """Place of the first row in the sequence of all draws: what augmentation is a function of."""
    drawn: Ids
    """Positions among the candidates of the whole batch, over all processes."""


Rows = tuple[Ids, Pixels, Tensor, Tensor]


class ImageDataset(Dataset[Rows]):
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

    def __getitem__(self, row: int) -> Rows:
        return self.__getitems__([row])

    def __getitems__(self, rows: Sequence[int] | Ids) -> Rows:
        """What torch's `DataLoader` calls with the indices of a batch: the fields of `Batch`."""
        row_ids = np.asarray(rows, np.int64)
        return (
            row_ids,
            self.store.gather(row_ids),
            torch.from_numpy(self.labels[row_ids].astype(np.int64)),
            torch.from_numpy(self.weights[row_ids].astype(np.float32)),
        )


def list_candidates(train: Manifest, rows: LearnRows, sampling: Sampling) -> Candidates:
    """What the draws of a member depend on, of the rows that it learns from."""
    ids = rows.row_ids
    draw_weights = generators = None
    if sampling.mode == "weighted" and sampling.weights == "column":
        draw_weights = train.draw_weights[ids]
        if (draw_weights == 1).all():  # what `prepare` fills in where no column is named
            draw_weights = None
    elif sampling.mode == "weighted":
        generators = pd.factorize(train.table["generator"].iloc[ids])[0].astype(np.int64)
    return Candidates(train.labels[ids], draw_weights, generators)


class BatchLoader:
    """What one member learns from, step by step; each batch is a pure function of (seed, step).

    Only `rows` are ever loaded. Of each global batch process `rank` of `world` loads its slice.
    """

    def __init__(
        self,
        store: ImageStore,
        train: Manifest,
        rows: LearnRows,
        settings: MemberSettings,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.dataset = ImageDataset(store, train.labels, train.weights)
        self.rows, self.rank, self.world = rows, rank, world
        self.candidates = list_candidates(train, rows, settings.sampling)
        self.batch_size = min(settings.schedule.batch_size, len(rows.row_ids))
        self.batches = build_batches(self.candidates, settings.sampling, self.batch_size, seed)

    def __len__(self) -> int:
        """Steps of one epoch."""
        return len(self.batches)

    def load(self, step: int) -> Batch:
        """This process's share of the batch of one step, counted over all epochs from 0."""
        drawn = self.batches.batch(step)
        rows = self.rows.row_ids[slice_for_rank(drawn, self.rank, self.world)]
        first = step * self.batch_size + self.rank * self.batch_size // self.world
        return Batch(*self.dataset.__getitems__(rows), first, drawn)

    def iterate(self, first: int, stop: int) -> Iterator[Batch]:
        """Batches of the steps `first` … `stop - 1`; the next one is loaded beside the training."""
        with ThreadPoolExecutor(1) as beside:
            coming = beside.submit(self.load, first)
            for step in range(first, stop):
                batch = coming.result()
                if step + 1 < stop:
                    coming = beside.submit(self.load, step + 1)
                yield batch
