"""The batches that one member learns from."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from features.images import ImageStore, Pixels
from features.manifest import Ids, LearnRows
from features.train_params import MemberSettings
from stage1_cnn.batches import flip_batch
from stage1_cnn.samplers import build_batches


@dataclass(frozen=True)
class Batch:
    """Rows of one step: pixels uint8 `(b, s, s, 3)`, labels int64 and weights float32 `(b,)`."""

    row_ids: Ids
    pixels: Pixels
    labels: Tensor
    weights: Tensor


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
        self.store, self.rows, self.labels, self.weights = store, rows, labels, weights
        self.augment, self.seed = settings.augment, seed
        size = min(settings.schedule.batch_size, len(rows.row_ids))
        self.sampler = build_batches(labels[rows.row_ids], settings.sampling, size, seed)

    def __len__(self) -> int:
        """Steps of one epoch."""
        return len(self.sampler)

    def row_ids(self, step: int) -> Ids:
        """`(b,)` rows of a step, counted over all epochs from 0."""
        return self.rows.row_ids[self.sampler.batch(step)]

    def load(self, step: int) -> Batch:
        """One gather from the store, flipped."""
        row_ids = self.row_ids(step)
        return Batch(
            row_ids,
            flip_batch(self.store.gather(row_ids), self.augment, self.seed, step),
            torch.from_numpy(self.labels[row_ids].astype(np.int64)),
            torch.from_numpy(self.weights[row_ids].astype(np.float32)),
        )
