"""Rows of a store through a network: raw log-odds and embeddings, in one process or several.

scored = score_rows(build_torch_engine(network, settings, device), store, row_ids, processes)
scored.logits, scored.embeddings
"""

from collections import deque
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from features.core.manifest import Ids
from features.crops.crop_store import GridStore
from features.pixels.store import ImageStore
from features.runtime.progress import track
from stage1_cnn.networks.devices import fixed_algorithms, read_later, tell_memory
from stage1_cnn.scoring.engines import Engine, Scores
from stage1_cnn.scoring.feeding import Loaded, feed, gather_pixels
from stage1_cnn.scoring.merging import HALF_MAX, ScoredRows, merge_squares
from stage1_cnn.scoring.processes import Processes

CPU_BATCH = 32
"""Images: batches of 16 to 64 are scored alike fast."""
GPU_PIXELS = 256 * 224 * 224
"""Of one batch on a GPU, however large its images are."""


def find_batch_size(engine: Engine) -> int:
    """Images of one batch, of one process."""
    return CPU_BATCH if engine.device.type == "cpu" else max(8, GPU_PIXELS // engine.side**2)


def split_batches(
    engine: Engine, store: ImageStore, row_ids: Ids, processes: Processes
) -> list[Ids]:
    """The rows in batches, each for all processes together; the squares of a row stay together."""
    size = find_batch_size(engine) * processes.world
    if not isinstance(store, GridStore):
        return [row_ids[i : i + size] for i in range(0, len(row_ids), size)]
    counts = store.count_squares(row_ids)
    number = (np.cumsum(counts) - counts) // size
    parts = np.split(row_ids, np.flatnonzero(np.diff(number)) + 1)
    return [part for part in parts if len(part)]


def score_batches(
    engine: Engine, store: ImageStore, batches: list[Ids], processes: Processes
) -> Iterator[ScoredRows]:
    """The scores of each batch of `split_batches`, all of them on every process.

    Each process scores its share of each batch. A batch is read back only when the next one is on
    its way, so that the device never waits for the host. Raises `DeviceMemoryError`.
    """

    def load(number: int) -> Loaded[Ids | None]:
        return load_rows(store, processes.take_slice(batches[number]), engine.device)

    coming: deque[tuple[Callable[[], ScoredRows], int]] = deque()
    with tell_memory(engine.device):
        for number, loaded in enumerate(feed(load, 0, len(batches), engine.device)):
            scoring = start_scoring(engine, loaded.tensors[0], loaded.rest)
            coming.append((scoring, len(batches[number])))
            if len(coming) > 1:
                yield _gather(*coming.popleft(), processes)
        for last in coming:
            yield _gather(*last, processes)


def load_rows(store: ImageStore, row_ids: Ids, device: torch.device) -> Loaded[Ids | None]:
    """Pixels of the rows, and how many squares each has where it has several."""
    if not isinstance(store, GridStore):
        return Loaded((gather_pixels(store, row_ids, device),), None)
    grid = store.list_squares(row_ids)
    return Loaded((gather_pixels(store, grid.row_ids, device, grid.corners),), grid.counts)


def start_scoring(
    engine: Engine, pixels: Tensor, counts: Ids | None = None
) -> Callable[[], ScoredRows]:
    """Starts to score pixels; the function that is returned waits for the scores.

    `counts`: squares of each row, where rows have several. The same bits on every run.
    """
    with fixed_algorithms():
        log_odds, embeddings = engine(pixels) if len(pixels) else _score_nothing(engine)
        if counts is None:
            embeddings = embeddings.clamp(-HALF_MAX, HALF_MAX).half()
    read = read_later(log_odds, embeddings)
    if counts is None:
        return lambda: ScoredRows(*(tensor.numpy() for tensor in read()))
    return lambda: merge_squares(counts, *(tensor.numpy() for tensor in read()))


def _score_nothing(engine: Engine) -> Scores:
    """No scores, of the right width: those of a black picture, without it."""
    black = torch.zeros(1, engine.side, engine.side, 3, dtype=torch.uint8, device=engine.device)
    log_odds, embeddings = engine(black)
    return log_odds[:0], embeddings[:0]


def _gather(read: Callable[[], ScoredRows], total: int, processes: Processes) -> ScoredRows:
    part = read()
    crop_logits = part.crop_logits
    return ScoredRows(
        processes.gather(part.logits, total),
        processes.gather(part.embeddings, total),
        None if crop_logits is None else processes.gather(crop_logits, total),
    )


def find_width(engine: Engine) -> int:
    """Length of the embeddings. Raises `DeviceMemoryError`."""
    with tell_memory(engine.device):
        return int(_score_nothing(engine)[1].shape[1])


def score_rows(
    engine: Engine, store: ImageStore, row_ids: Ids, processes: Processes, title: str = "score"
) -> ScoredRows:
    """All rows at once, in memory, on every process; of several squares of a picture the means."""
    batches = split_batches(engine, store, row_ids, processes)
    scored = score_batches(engine, store, batches, processes)
    first = processes.is_first
    parts = list(track(scored, title, len(row_ids), shown=first, unit="images", size=len))
    if not parts:
        parts = [start_scoring(engine, torch.empty(0))()]
    return ScoredRows(
        np.concatenate([part.logits for part in parts]),
        np.concatenate([part.embeddings for part in parts]),
    )
