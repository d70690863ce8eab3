"""The parts of one dump: what scores them, and the scores, kept as they come."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch

from features.artifacts.row_blocks import Arrays, Layout, RowBlocks
from features.core.manifest import Ids, Manifest, Role
from features.crops.crop_store import GridStore, count_squares, lay_grid
from features.pixels.store import ImageStore
from features.runtime.interruption import Interruption
from features.settings.scoring import Scoring
from stage1_cnn.dump.onnx import choose_engine
from stage1_cnn.networks.member import Member, load_network
from stage1_cnn.networks.network import fit_image_size
from stage1_cnn.scoring.engines import Engine, TorchEngine, build_torch_engine
from stage1_cnn.scoring.filling import ScoreTask, fill_blocks
from stage1_cnn.scoring.merging import ScoredRows
from stage1_cnn.scoring.processes import Processes
from stage1_cnn.scoring.rows import CPU_BATCH, score_batches, split_batches
from stage1_cnn.scoring.views import VIEWS, view_images

PLAIN = "plain"
"""The part that holds fold k, scored as the member was trained: to look at only."""


@dataclass(frozen=True)
class Task:
    """What is to be dumped: a member, the rows and images of each role, and how they are scored."""

    member: Member
    member_dir: Path
    manifests: Mapping[Role, Manifest]
    stores: Mapping[Role, ImageStore]
    scoring: Scoring
    engine: Literal["auto", "torch"]

    @property
    def trained_side(self) -> int:
        """Of the squares that the network learned from, in pixels."""
        return self.member.settings.image_size

    @property
    def side(self) -> int:
        """Of those that it scores."""
        return self.scoring.choose_side(self.trained_side)

    def describe_crops(self) -> str:
        """`, up to 9 crops a picture`, where there are any."""
        is_crop = self.member.settings.images.mode == "crop"
        return f", up to {self.scoring.most_crops} crops a picture" if is_crop else ""

    @property
    def is_plain(self) -> bool:
        """Images are scored as the member was trained."""
        return self.scoring.tta == "none" and self.side == self.trained_side


class Part(Protocol):
    """Rows that are scored: those of a role, or `PLAIN`."""

    @property
    def name(self) -> str:
        """The role, or `PLAIN`."""
        ...

    @property
    def row_ids(self) -> Ids:
        """Increasing."""
        ...

    @property
    def engine(self) -> Engine:
        """What computes."""
        ...

    @property
    def has_crops(self) -> bool:
        """Several squares of a picture may be scored."""
        ...

    def score(self, start: int, stop: int, processes: Processes) -> Iterator[ScoredRows]:
        """Rows `start` … `stop - 1`, batch by batch, in order, on every process."""
        ...


@dataclass(frozen=True)
class EnginePart:
    """Rows of one store that one engine scores."""

    name: str
    engine: Engine
    store: ImageStore
    row_ids: Ids

    @property
    def has_crops(self) -> bool:
        """See `Part`."""
        return isinstance(self.store, GridStore)

    def score(self, start: int, stop: int, processes: Processes) -> Iterator[ScoredRows]:
        """See `Part`."""
        batches = split_batches(self.engine, self.store, self.row_ids[start:stop], processes)
        return score_batches(self.engine, self.store, batches, processes)


def build_engine_parts(task: Task, processes: Processes) -> list[Part]:
    """The rows of each role that the member may be asked about, all for the same engine."""
    fold = task.member.id.fold
    rows = {role: manifest.rows_to_dump(fold) for role, manifest in task.manifests.items()}
    most = task.scoring.most_crops
    stores = {role: lay_grid(store, most) for role, store in task.stores.items()}
    views = len(VIEWS[task.scoring.tta])
    images = views * sum(count_squares(stores[role], ids) for role, ids in rows.items())
    engine = _build_engine(task, stores["train"], task.side, images, processes)
    averaged = view_images(engine, task.scoring.tta)
    parts: list[Part] = [
        EnginePart(role, averaged, stores[role], ids) for role, ids in rows.items()
    ]
    if not task.is_plain:
        fold_rows, store = task.manifests["train"].fold_rows(fold), stores["train"]
        if task.side != task.trained_side:
            store = lay_grid(store, most, task.trained_side)
            images = count_squares(store, fold_rows)
            engine = _build_engine(task, store, task.trained_side, images, processes)
        parts.append(EnginePart(PLAIN, engine, store, fold_rows))
    return parts


def _build_engine(
    task: Task, store: ImageStore, side: int, images: int, processes: Processes
) -> Engine:
    """What scores so many images of `store` at `side` pixels."""
    first = task.manifests["train"].rows_to_dump(task.member.id.fold)[:CPU_BATCH]
    pixels = torch.from_numpy(store.gather(first))
    engine = build_engine(task.member, task.member_dir, side, processes.device)
    return choose_engine(engine, task.engine, pixels, images, processes)


def build_engine(member: Member, folder: Path, side: int, device: torch.device) -> TorchEngine:
    """The member's network, from `folder`, for squares of `side` pixels."""
    network = load_network(folder, member)
    fit_image_size(network, member.settings, side)
    resized = member.settings.model_copy(update={"image_size": side})
    return build_torch_engine(network, resized, device)


def open_part_blocks(part: Part, folder: Path, width: int) -> RowBlocks:
    """What is there of a part's scores, embeddings `width` wide."""
    rows = len(part.row_ids)
    layouts: dict[str, Layout] = {
        "logits": (np.float32, (rows,)),
        "embeddings": (np.float16, (rows, width)),
    }
    if part.has_crops:
        layouts["crop_logits"] = (np.float32, (rows, 2))
    return RowBlocks(folder, part.name, rows, layouts)


def score_part(
    part: Part, blocks: RowBlocks | None, processes: Processes, interruption: Interruption
) -> int:
    """Scores what `blocks` lack, and counts it; only the first process has them.

    Raises `Stopped`.
    """

    def score(start: int, stop: int) -> Iterator[Arrays]:
        for scores in part.score(start, stop, processes):
            yield scores.list_arrays()

    rows = len(part.row_ids)
    task = ScoreTask(rows, f"dump {part.name}", "images", f"rows of {part.name}")
    return fill_blocks(blocks, task, score, processes, interruption)
