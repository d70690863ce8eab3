"""Val rows under every variant, through all members: perturbed once, scored by each."""

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from joblib import cpu_count
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from features.artifacts.perturbed import Perturbed, Variant
from features.artifacts.row_blocks import Arrays, Layout, RowBlocks
from features.core.manifest import Ids
from features.core.members import MemberId
from features.crops.crop_store import GridStore
from features.errors import WorkerKilledError
from features.forensics.batch import Pixels
from features.forensics.columns import COLUMNS, count_together, measure_images
from features.pixels.store import ImageStore
from features.runtime.interruption import Interruption
from stage1_cnn.networks.devices import tell_memory
from stage1_cnn.perturb.variants import perturb_pixels
from stage1_cnn.scoring.engines import Engine
from stage1_cnn.scoring.feeding import Loaded, feed
from stage1_cnn.scoring.filling import ScoreTask, fill_blocks
from stage1_cnn.scoring.processes import Processes
from stage1_cnn.scoring.rows import find_batch_size, find_width, load_rows, start_scoring

MANY = 1 << 24
"""Pixels from which on processes measure forensic features: two seconds of it."""
IDLE_SECONDS = 600
"""That a process waits for the next pictures: large networks take their time."""
Floats = npt.NDArray[np.float32]
Measure = Callable[[Pixels], Callable[[], Floats]]
"""Begins with the forensic features of pictures `(b, s, s, 3)`; what it gives waits for them."""


@dataclass(frozen=True)
class Work:
    """Rows under `variants`, for the engines of `members`, which are on one device."""

    row_ids: Ids
    variants: tuple[Variant, ...]
    stores: tuple[tuple[ImageStore, ...], ...]
    """Of each variant what there is to see of the pictures. First comes the whole of each as a
    square, whose forensic features are measured; a strength changes it when it is scored. What else
    there is comes out of changed files."""
    members: tuple[MemberId, ...]
    engines: tuple[Engine, ...]
    places: tuple[int, ...]
    """Which store of each variant a member sees."""

    def __len__(self) -> int:
        """Pictures: rows of each variant, one variant after the other."""
        return len(self.variants) * len(self.row_ids)


def open_work_blocks(work: Work, folder: Path) -> RowBlocks:
    """The scores of `work`, one row a picture, with what an earlier run has left of them."""
    shape = (len(work.variants), len(work.row_ids))
    layouts: dict[str, Layout] = {}
    for member, engine, place in zip(work.members, work.engines, work.places, strict=True):
        layouts[f"{member.name}.logits"] = (np.float32, shape)
        layouts[f"{member.name}.embeddings"] = (np.float16, (*shape, find_width(engine)))
        if isinstance(work.stores[0][place], GridStore):
            layouts[f"{member.name}.crop_logits"] = (np.float32, (*shape, 2))
    layouts["forensics"] = (np.float32, (*shape, len(COLUMNS)))
    return RowBlocks(folder, "perturbed", len(work), layouts)


def collect_scores(work: Work, blocks: RowBlocks) -> Perturbed:
    """All scores, mapped from the disk."""
    arrays = blocks.map_named_arrays()
    names = [member.name for member in work.members]
    return Perturbed(
        work.row_ids,
        work.variants,
        work.members,
        tuple(arrays[f"{name}.logits"] for name in names),
        tuple(arrays[f"{name}.embeddings"] for name in names),
        COLUMNS,
        arrays["forensics"],
        tuple(arrays.get(f"{name}.crop_logits") for name in names),
    )


def score_work(
    work: Work, blocks: RowBlocks, processes: Processes, interruption: Interruption
) -> None:
    """Scores the pictures that `blocks` lack. Raises `Stopped`."""
    missing = sum(stop - start for start, stop in blocks.list_missing())
    most = max([1, *(store.most for store in work.stores[0] if isinstance(store, GridStore))])
    size = max(1, min(find_batch_size(engine) for engine in work.engines) // most)
    task = ScoreTask(len(work), "perturb", "pictures", "perturbed pictures")
    with open_measure(missing * work.stores[0][0].size ** 2) as measure:

        def score(start: int, stop: int) -> Iterator[Arrays]:
            return score_steps(work, split_steps(start, stop, len(work.row_ids), size), measure)

        fill_blocks(blocks, task, score, processes, interruption)


def split_steps(start: int, stop: int, rows: int, size: int) -> list[tuple[int, int]]:
    """Pictures `start` … `stop - 1` in batches, each of one variant."""
    steps = []
    while start < stop:
        end = min(stop, start + size, (start // rows + 1) * rows)
        steps.append((start, end))
        start = end
    return steps


def score_steps(work: Work, steps: Sequence[tuple[int, int]], measure: Measure) -> Iterator[Arrays]:
    """What `open_work_blocks` keeps of each step's pictures. Raises `DeviceMemoryError`."""
    rows = len(work.row_ids)

    def load(number: int) -> Loaded[tuple[Variant, Ids, list[Ids | None]]]:
        start, stop = steps[number]
        variant, first = divmod(start, rows)
        ids = work.row_ids[first : first + stop - start]
        loaded = [load_rows(store, ids, device) for store in work.stores[variant]]
        tensors = tuple(tensor for found in loaded for tensor in found.tensors)
        return Loaded(tensors, (work.variants[variant], ids, [found.rest for found in loaded]))

    device = work.engines[0].device
    with tell_memory(device):
        for pixels, (variant, ids, counts) in feed(load, 0, len(steps), device):
            seen = [perturb_pixels(pixels[0], ids, variant), *pixels[1:]]
            forensics = measure(seen[0].cpu().numpy())
            waiting = [
                start_scoring(engine, seen[place], counts[place])
                for engine, place in zip(work.engines, work.places, strict=True)
            ]
            arrays = [array for read in waiting for array in read().list_arrays()]
            yield [*arrays, forensics()]


@contextmanager
def open_measure(pixels: int) -> Iterator[Measure]:
    """What measures pictures: where there are many pixels in all, in processes of its own."""
    if pixels < MANY:
        yield lambda pictures: lambda: measure_images(pictures)
        return
    count = max(1, cpu_count() - 1)  # one core scores
    workers = get_reusable_executor(count, timeout=IDLE_SECONDS, initializer=_ignore_interrupts)
    try:
        yield lambda pictures: _measure_beside(pictures, workers.submit, count)
    finally:
        workers.shutdown(kill_workers=True)


def _measure_beside(
    pixels: Pixels, submit: Callable[..., Future[Floats]], count: int
) -> Callable[[], Floats]:
    size = max(count_together(pixels.shape[1]), -(-len(pixels) // count))
    coming = [
        submit(measure_images, np.ascontiguousarray(pixels[i : i + size]))
        for i in range(0, len(pixels), size)
    ]

    def read() -> Floats:
        try:
            return np.concatenate([part.result() for part in coming])
        except TerminatedWorkerError as error:
            raise WorkerKilledError("perturbed pictures were measured") from error

    return read


def _ignore_interrupts() -> None:
    """Ctrl-C reaches all processes of a terminal; the first one ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
