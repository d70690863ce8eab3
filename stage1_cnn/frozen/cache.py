"""Embeddings of frozen encoders, computed once for all folds: a cache that a kill leaves usable.

A folder for each encoder, geometry and list of pictures, below `images.store_dir`. Labels and folds
are no part of its key.

look = open_shared_look(encoding, network, processes, companions)
embedded = embed_rows(look, train, store, interruption)
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from filelock import FileLock, Timeout

from features.artifacts.row_blocks import Arrays, RowBlocks
from features.core.files import digest_json, write_sealed
from features.core.manifest import Manifest
from features.errors import ConfigError, Stopped
from features.pixels.store import ImageStore
from features.runtime.interruption import Interruption
from stage1_cnn.frozen.embedded import Embedded, Singles, Squares, list_all_squares
from stage1_cnn.frozen.known import (
    ARRAY,
    KEY,
    LOCK,
    Names,
    copy_known,
    list_relatives,
    name_squares,
    open_blocks,
)
from stage1_cnn.frozen.shared_look import SharedBlocks, SharedLook, covers
from stage1_cnn.networks.devices import fixed_algorithms, read_later, tell_memory
from stage1_cnn.scoring.engines import Engine
from stage1_cnn.scoring.feeding import Loaded, feed, gather_pixels
from stage1_cnn.scoring.filling import ScoreTask, fill_blocks
from stage1_cnn.scoring.processes import Processes
from stage1_cnn.scoring.rows import find_batch_size

FOLDER = "embeddings"
WAIT_SECONDS = 1.0
"""That the first process waits for another one before it looks whether to stop."""
_log = logging.getLogger("forgerystack")


class EmbeddingPlace(NamedTuple):
    """Where the embeddings of one member lie."""

    folder: Path
    key: dict[str, Any]
    width: int


def embed_rows(
    look: SharedLook, manifest: Manifest, store: ImageStore, interruption: Interruption
) -> Embedded:
    """The embeddings of all readable rows of `manifest`, in every process of one machine.

    What the cache lacks is computed, of the pictures of `store`; where companions lack the same
    rows, for them as well. Raises `Stopped`, with all that was computed kept, `DeviceMemoryError`,
    and `ConfigError` on another machine that does not share the folder.
    """
    own, processes = look.encodings[0], look.processes
    laid = own.lay_grid(store)
    readable = np.flatnonzero(manifest.readable).astype(np.int64)
    squares = list_all_squares(laid, readable)
    count, names = len(squares.shown), name_squares(manifest, squares)
    task = ScoreTask(count, f"embed {manifest.role}", "images", f"images of {manifest.role}")
    place = _find_place(look, 0, manifest, count)
    copied, opened = 0, dict[int, RowBlocks]()
    with ExitStack() as held:
        _wait_for_lock(held, place, processes, interruption)
        if processes.is_first:
            first, copied = _open_blocks(place, names)
            others = _open_companions(held, look, manifest, first.list_missing(), names)
            opened = {0: first, **others}
        engine, chosen = look.join(processes.broadcast(list(opened)))
        blocks = SharedBlocks([opened[own] for own in chosen]) if opened else None
        widths = [look.widths[own] for own in chosen]

        def score(start: int, stop: int) -> Iterator[Arrays]:
            batches = _embed_squares(
                engine, sum(widths), laid, squares, range(start, stop), processes
            )
            for part in batches:
                parts = np.split(part, np.cumsum(widths)[:-1], axis=1)
                yield [*parts, names[start : start + len(part)]]
                start += len(part)

        done = fill_blocks(blocks, task, score, processes, interruption)
    _log.info(
        "embeddings of %s, %s: %s images, %s of them seen now%s, %s known from other lists (%s)",
        own.settings.model, manifest.role, f"{count:,}", f"{done:,}",
        f" for {len(chosen)} backbones" if len(chosen) > 1 else "", f"{copied:,}", place.folder,
    )  # fmt: skip
    return Embedded(squares, _map(processes.broadcast(place.folder), (count, place.width)))


def _find_place(look: SharedLook, number: int, manifest: Manifest, count: int) -> EmbeddingPlace:
    """Of the member `number` of a look, with `count` squares of the pictures of `manifest`."""
    encoding = look.encodings[number]
    key = encoding.describe(look.engine, manifest) | {"squares": count}
    folder = Path(encoding.images.store_dir) / FOLDER / digest_json(key)[:16]
    return EmbeddingPlace(folder, key, look.widths[number])


def _wait_for_lock(
    held: ExitStack, place: EmbeddingPlace, processes: Processes, interruption: Interruption
) -> None:
    """Until nobody else fills the place, and nobody will while `held` is. Raises `Stopped`.

    The first process has the lock; all ask each other every second, so none is taken for lost.
    """
    told = False
    while True:
        has = processes.is_first and _lock(held, place, WAIT_SECONDS)
        reason = None if has else interruption.find_reason()
        done, stopping = processes.any(has, reason is not None)
        if done:
            return
        if stopping:
            cause = reason or "another process was"
            raise Stopped(f"while another process worked in {place.folder} ({cause})")
        if not told:
            _log.info("embeddings: waiting for another process that works in %s", place.folder)
        told = True


def _lock(held: ExitStack, place: EmbeddingPlace, seconds: float) -> bool:
    """Whether nobody else fills the place within so many seconds, nor while `held` is."""
    place.folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place.folder / LOCK)
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        return False
    held.callback(lock.release)
    return True


def _open_blocks(place: EmbeddingPlace, names: Names) -> tuple[RowBlocks, int]:
    """What is there of the embeddings, with what other lists held, which is counted; under lock."""
    write_sealed(place.folder / KEY, {"key": place.key})
    blocks = open_blocks(place.folder, len(names), place.width)
    return blocks, copy_known(blocks, names, list_relatives(*place))


def _open_companions(
    held: ExitStack,
    look: SharedLook,
    manifest: Manifest,
    missing: Sequence[tuple[int, int]],
    names: Names,
) -> dict[int, RowBlocks]:
    """By number those that lack all that is `missing`, and that nobody else fills."""
    found = dict[int, RowBlocks]()
    for number in range(1, len(look.encodings)) if missing else ():
        place = _find_place(look, number, manifest, len(names))
        with ExitStack() as own:
            if not _lock(own, place, 0):
                continue
            blocks, _ = _open_blocks(place, names)
            if covers(blocks.list_missing(), missing):
                found[number] = blocks
                held.enter_context(own.pop_all())
    return found


def _embed_squares(
    engine: Engine,
    width: int,
    store: ImageStore,
    squares: Squares,
    places: range,
    processes: Processes,
) -> Iterator[Singles]:
    """Embeddings `(b, width)` of the squares at `places`, batch by batch, all of each on every
    process; a batch is read back only when the next one is on its way."""
    size = find_batch_size(engine) * processes.world
    batches = [places[i : i + size] for i in range(0, len(places), size)]

    def load(number: int) -> Loaded[int]:
        own = processes.take_slice(np.asarray(batches[number]))
        corners = None if squares.corners is None else squares.corners[own]
        pixels = gather_pixels(store, squares.shown[own], engine.device, corners)
        return Loaded((pixels,), len(batches[number]))

    def start(pixels: torch.Tensor) -> Callable[[], Singles]:
        if not len(pixels):
            return lambda: np.empty((0, width), np.float32)
        whole = engine(_fill_up(pixels, size // processes.world))[1]
        read = read_later(whole[: len(pixels)])
        return lambda: read()[0].numpy()

    coming: deque[tuple[Callable[[], Singles], int]] = deque()
    with tell_memory(engine.device), fixed_algorithms():
        for (pixels,), total in feed(load, 0, len(batches), engine.device):
            coming.append((start(pixels), total))
            if len(coming) > 1:
                read, rows = coming.popleft()
                yield processes.gather(read(), rows)
        for read, rows in coming:
            yield processes.gather(read(), rows)


def _fill_up(pixels: torch.Tensor, size: int) -> torch.Tensor:
    """A whole batch: how sums are rounded depends on its size, and which pictures are computed
    together depends on what is known already.
    """
    lacking = size - len(pixels)
    return torch.cat([pixels, pixels[-1:].expand(lacking, *pixels.shape[1:])])


def _map(folder: Path, shape: tuple[int, int]) -> Singles:
    if not shape[0]:  # nothing cannot be mapped
        return np.empty(shape, np.float32)
    path = folder / f"{ARRAY}.embeddings.npy"
    if not path.is_file():
        problem = f"{path} is not on this machine"
        advice = "Let a frozen encoder run on one machine, or share the folder"
        raise ConfigError("images.store_dir", [problem], advice)
    return np.asanyarray(np.load(path, mmap_mode="r", allow_pickle=False))
