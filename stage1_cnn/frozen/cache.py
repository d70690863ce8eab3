"""Embeddings of frozen encoders, computed once for all folds: a cache that a kill leaves usable.

A folder for each encoder, geometry and list of pictures, below `images.store_dir`. Labels and folds
are no part of its key.

encoding = Encoding(settings, identify_encoder(network, settings), Scoring(), params.images)
engine = encoding.build_engine(network, processes)
embedded = embed_rows(encoding, engine, train, store, processes, interruption)
"""

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout

from features.artifacts.row_blocks import Arrays, RowBlocks
from features.core.files import digest_bytes, digest_file, digest_json, write_sealed
from features.core.manifest import Manifest
from features.crops.crop_store import lay_grid
from features.errors import ConfigError
from features.pixels.store import ImageStore
from features.runtime.interruption import Interruption
from features.runtime.run_folder import list_versions
from features.settings.images import Images
from features.settings.scoring import Scoring
from features.settings.training import MemberSettings
from stage1_cnn.frozen.embedded import Embedded, Singles, Squares, list_all_squares
from stage1_cnn.frozen.known import (
    ARRAY,
    KEY,
    LOCK,
    copy_known,
    list_relatives,
    name_squares,
    open_blocks,
)
from stage1_cnn.networks.devices import fixed_algorithms, tell_memory
from stage1_cnn.networks.frozen_network import FrozenNetwork
from stage1_cnn.networks.network import fit_image_size
from stage1_cnn.runtime.runs import COMPUTING
from stage1_cnn.scoring.engines import Engine, build_torch_engine, describe_engines
from stage1_cnn.scoring.feeding import Loaded, feed, gather_pixels
from stage1_cnn.scoring.filling import ScoreTask, fill_blocks
from stage1_cnn.scoring.processes import Processes
from stage1_cnn.scoring.rows import find_batch_size, find_width
from stage1_cnn.scoring.views import view_images

FOLDER = "embeddings"
CODE = (
    *("features/crops", "features/pixels"),
    *("stage1_cnn/frozen", "stage1_cnn/networks", "stage1_cnn/scoring"),
)
"""Rooms that say what an embedding is: a change there makes them anew."""
_log = logging.getLogger("forgerystack")


def identify_encoder(network: FrozenNetwork, settings: MemberSettings) -> str:
    """Digest of all that the axes of its embeddings depend on: weights, and what is read of it."""
    content = hashlib.sha256()
    for name, value in network.encoder.state_dict().items():
        content.update(name.encode())
        content.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    facts = settings.model_dump(
        mode="json",
        include={"model", "pooling", "layer", "graph", "image_size", "images", "network"},
    )
    return digest_json([content.hexdigest(), facts])


@dataclass(frozen=True)
class Encoding:
    """An encoder, and what it is shown of a picture."""

    settings: MemberSettings
    encoder: str
    """As of `identify_encoder`."""
    scoring: Scoring
    images: Images

    @property
    def side(self) -> int:
        """Of the squares that it sees, in pixels."""
        return self.scoring.choose_side(self.settings.image_size)

    def lay_grid(self, store: ImageStore) -> ImageStore:
        """What is shown of pictures, as `dump` scores them."""
        return lay_grid(store, self.scoring.most_crops, self.side)

    def build_engine(self, network: FrozenNetwork, processes: Processes) -> Engine:
        """What computes embeddings; `network` is changed to see `side` pixels."""
        fit_image_size(network, self.settings, self.side)
        resized = self.settings.model_copy(update={"image_size": self.side})
        engine = build_torch_engine(network, resized, processes.device)
        return view_images(engine, self.scoring.tta)

    def describe(self, engine: Engine, manifest: Manifest) -> dict[str, Any]:
        """The key of the embeddings of a manifest's pictures."""
        is_crop = self.settings.images.mode == "crop"
        return {
            "encoder": self.encoder,
            "model": self.settings.model,  # for people, as the next one
            "role": manifest.role,
            "side": self.side,
            "crops": self.scoring.most_crops if is_crop else None,
            "tta": self.scoring.tta,
            "images": self.images.pixel_settings,
            "pictures": digest_bytes("\n".join(manifest.read("sha256")).encode()),
            "code": _digest_rooms(),
            "versions": list_versions(COMPUTING),
            **describe_engines([engine]),
        }


def embed_rows(
    encoding: Encoding,
    engine: Engine,
    manifest: Manifest,
    store: ImageStore,
    processes: Processes,
    interruption: Interruption,
) -> Embedded:
    """The embeddings of all readable rows of `manifest`, in every process of one machine.

    What the cache lacks is computed by `engine`, of the pictures of `store`. Raises `Stopped`, with
    all that was computed kept, `DeviceMemoryError`, and `ConfigError` on another machine that does
    not share the folder.
    """
    laid = encoding.lay_grid(store)
    readable = np.flatnonzero(manifest.readable).astype(np.int64)
    squares = list_all_squares(laid, readable)
    count = len(squares.shown)
    key, width = encoding.describe(engine, manifest) | {"squares": count}, find_width(engine)
    folder = Path(encoding.images.store_dir) / FOLDER / digest_json(key)[:16]
    names = name_squares(manifest, squares)

    def score(start: int, stop: int) -> Iterator[Arrays]:
        for part in _embed_squares(engine, laid, squares, range(start, stop), processes):
            yield [part, names[start : start + len(part)]]
            start += len(part)

    task = ScoreTask(count, f"embed {manifest.role}", "images", f"images of {manifest.role}")
    with _open_blocks(folder, key, width) if processes.is_first else nullcontext() as blocks:
        copied = copy_known(blocks, names, list_relatives(folder, key, width)) if blocks else 0
        done = fill_blocks(blocks, task, score, processes, interruption)
    _log.info(
        "embeddings of %s, %s: %s images, %s of them seen now, %s known from other lists (%s)",
        encoding.settings.model, manifest.role, f"{count:,}", f"{done:,}", f"{copied:,}", folder,
    )  # fmt: skip
    return Embedded(squares, _map(processes.broadcast(folder), (count, width)))


@contextmanager
def _open_blocks(folder: Path, key: dict[str, Any], width: int) -> Iterator[RowBlocks]:
    """What is there of the embeddings; nobody else fills them meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=1)
    except Timeout:
        _log.info("embeddings: waiting for another process that works in %s", folder)
        lock.acquire()
    try:
        write_sealed(folder / KEY, {"key": key})
        yield open_blocks(folder, key["squares"], width)
    finally:
        lock.release()


def _embed_squares(
    engine: Engine, store: ImageStore, squares: Squares, places: range, processes: Processes
) -> Iterator[Singles]:
    """Embeddings of the squares at `places`, batch by batch, all of each on every process."""
    size = find_batch_size(engine) * processes.world
    batches = [places[i : i + size] for i in range(0, len(places), size)]

    def load(number: int) -> Loaded[int]:
        own = processes.take_slice(np.asarray(batches[number]))
        corners = None if squares.corners is None else squares.corners[own]
        pixels = gather_pixels(store, squares.shown[own], engine.device, corners)
        return Loaded((pixels,), len(batches[number]))

    width = find_width(engine)
    with tell_memory(engine.device), fixed_algorithms():
        for (pixels,), total in feed(load, 0, len(batches), engine.device):
            part = np.empty((0, width), np.float32)
            if len(pixels):
                whole = engine(_fill_up(pixels, size // processes.world))[1]
                part = whole[: len(pixels)].cpu().numpy()
            yield processes.gather(part, total)


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


def _digest_rooms() -> str:
    root = Path(__file__).parents[2]
    files = sorted(path for room in CODE for path in (root / room).glob("*.py"))
    return digest_json([digest_file(path) for path in files])
