"""The batches that one member learns from.

task = TrainingTask(settings, store, train, rows, seed=0)
loader = BatchLoader(task, Processes(device))
for batch in loader.iterate(0, len(loader)):
    loss = trainer.advance(batch)
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from features.core.manifest import Ids, LearnRows, Manifest
from features.crops.crop_store import Boxes, CropStore, place_boxes
from features.crops.places import Corners
from features.errors import ConfigError
from features.settings.learning import Sampling
from stage1_cnn.augment.augmenter import draw_uniform
from stage1_cnn.damage.squares import SquareDamage
from stage1_cnn.sampling.samplers import Candidates, build_batches
from stage1_cnn.sampling.training_task import TrainingTask
from stage1_cnn.scoring.feeding import Loaded, feed, gather_pixels
from stage1_cnn.scoring.processes import Processes

SQUARE_STREAM = 100
"""Of the random numbers that say which square of a picture a draw is; not one of an `Operation`."""

Rest = tuple[Ids, Ids, int, Ids, Boxes | None]
"""What a `TrainBatch` has beside its tensors."""


@dataclass(frozen=True)
class TrainBatch:
    """Rows of one step: pixels uint8 `(b, s, s, 3)` and weights float32 `(b,)` on the device."""

    pixels: Tensor
    weights: Tensor
    labels: Ids
    """`(b,)`, on the host: what is done with a row may depend on it, and no device is asked."""
    row_ids: Ids
    first_draw: int
    """Place of the first row in the sequence of all draws: what augmentation is a function of."""
    drawn: Ids
    """Positions among the candidates of the whole batch, over all processes."""
    faces: Boxes | None = None
    """`(b, 4)`, as of `place_boxes`: where self-blending finds faces; NaN where none is known."""


def list_candidates(train: Manifest, rows: LearnRows, sampling: Sampling) -> Candidates:
    """Labels, weights, generators and groups of the rows that a member learns from."""
    ids = rows.row_ids
    draw_weights = generators = None
    groups = train.groups[ids] if sampling.pairs else None
    if sampling.mode == "weighted" and sampling.weights == "column":
        draw_weights = train.draw_weights[ids]
        if (draw_weights == 1).all():  # what `prepare` fills in where no column is named
            draw_weights = None
    elif sampling.mode == "weighted":
        generators = pd.factorize(train.read("generator").iloc[ids])[0].astype(np.int64)
    return Candidates(train.labels[ids], draw_weights, generators, groups)


def order_rows(rows: LearnRows, take: Literal["random", "first"], seed: int) -> Ids:
    """The row ids in the order in which `sampling.limit_rows` takes them."""
    if take == "random":
        return np.random.default_rng(seed).permutation(rows.row_ids)
    return rows.row_ids


def choose_rows(train: Manifest, fold: int, sampling: Sampling, seed: int) -> LearnRows:
    """What the member that leaves out `fold` learns from; raises as `limit_rows` does."""
    return limit_rows(train.rows_to_learn(fold), sampling, seed)


def limit_rows(rows: LearnRows, sampling: Sampling, seed: int) -> LearnRows:
    """At most `sampling.limit_rows` of `rows`.

    Raises `ConfigError` where there are not so many.
    """
    if sampling.limit_rows is None:
        return rows
    available = len(rows.row_ids)
    if sampling.limit_rows > available:
        problem = f"sampling.limit_rows {sampling.limit_rows}: without fold {rows.fold}, train has "
        raise ConfigError("params.yaml", [f"{problem}{available} rows; null means all of them"])
    chosen = order_rows(rows, sampling.take, seed)[: sampling.limit_rows]
    return replace(rows, row_ids=np.sort(chosen))


def draw_squares(store: CropStore, row_ids: Ids, seed: int, first_draw: int) -> Corners:
    """`(b, 2)` corners of what is learned from of these rows: a function of seed and draw."""
    return store.draw(row_ids, draw_uniform(seed, SQUARE_STREAM, first_draw, len(row_ids), 2))


class BatchLoader:
    """What one member learns from, step by step; each batch is a pure function of (seed, step).

    Only `task.rows` are ever loaded. Of each batch every process loads its share.
    """

    def __init__(self, task: TrainingTask, processes: Processes) -> None:
        self.task, self.processes = task, processes
        settings, seed = task.settings, task.seed
        self.candidates = list_candidates(task.train, task.rows, settings.sampling)
        self.batch_size = min(settings.schedule.batch_size, len(task.rows.row_ids))
        self.batches = build_batches(self.candidates, settings.sampling, self.batch_size, seed)
        self.damage = SquareDamage(settings.augment.web, seed)
        self._faces = task.train.faces if settings.augment.self_blend else None

    def __len__(self) -> int:
        """Steps of one epoch."""
        return len(self.batches)

    def load(self, step: int) -> TrainBatch:
        """This process's share of the batch of one step, counted over all epochs from 0."""
        return _make_batch(self._load(step))

    def iterate(self, first: int, stop: int) -> Iterator[TrainBatch]:
        """Batches of the steps `first` … `stop - 1`, on the device; loaded beside the training."""
        for loaded in feed(self._load, first, stop, self.processes.device):
            yield _make_batch(loaded)

    def _load(self, step: int) -> Loaded[Rest]:
        task, drawn = self.task, self.batches.batch(step)
        rows = self.processes.take_slice(task.rows.row_ids[drawn])
        rank, world = self.processes.rank, self.processes.world
        first = step * self.batch_size + rank * self.batch_size // world
        corners = None
        if isinstance(task.store, CropStore):
            corners = draw_squares(task.store, rows, task.seed, first)
        pixels = gather_pixels(task.store, rows, self.processes.device, corners)
        self.damage.apply(pixels.numpy(), first)
        tensors = (pixels, torch.from_numpy(task.train.weights[rows].astype(np.float32)))
        faces = None
        if self._faces is not None:
            faces = place_boxes(task.store, rows, self._faces[rows], corners)
        labels = task.train.labels[rows].astype(np.int64)
        return Loaded(tensors, (labels, rows, first, drawn, faces))


def _make_batch(loaded: Loaded[Rest]) -> TrainBatch:
    pixels, weights = loaded.tensors
    return TrainBatch(pixels, weights, *loaded.rest)
