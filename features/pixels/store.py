"""Squares of pixels by `row_id`: from the disk, or decoded at each use; the same to the bit."""

import logging
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd

from features.caching.shard_files import ShardFiles, ShardReader
from features.core.manifest import Ids, Manifest
from features.core.trusted import ANYWHERE
from features.errors import ImageProblem, ManifestError, StaleArtifactError
from features.pixels.cache import BLOCK, ImageCache
from features.pixels.decoding import Change, Pixels, decode_square
from features.pixels.reading import read_content, read_state
from features.runtime.memory import count_workers
from features.settings.images import NO_LIMITS, Images

_log = logging.getLogger("forgerystack")
SHARE = 0.5
"""`images.store: auto` keeps pixels where they take at most this share of the free disk."""
SAMPLED = 1000
SAMPLED_BLOCKS = 4
ChangePixels = Callable[[str, Pixels], Pixels]
ADVICE = "It was readable when `prepare` ran. Run: dvc repro -f prepare"


class FileChange(NamedTuple):
    """What is done to the pixels of files before anything else."""

    apply: ChangePixels
    """A file's sha256 and its pixels `(h, w, 3)` to other pixels; safe in several threads."""
    longest: int | None = None
    """Larger pictures get this longest side, as `fit_shape` has it; others keep their shape."""

    def bind(self, sha256: str) -> Change:
        """What is done to the file of this sha256."""
        return partial(self.apply, sha256)


class ImageStore(Protocol):
    """Images of one role, `(n, size, size, 3)` uint8."""

    @property
    def size(self) -> int:
        """Side in pixels."""
        ...

    def __len__(self) -> int: ...

    def select(self, row_ids: Ids) -> "ImageStore":
        """The images of `row_ids` as rows 0 … k - 1; cheap to send to another process."""
        ...

    def gather(self, row_ids: Ids, out: Pixels | None = None) -> Pixels:
        """`(b, size, size, 3)` uint8, a copy, in the order of `row_ids`; in `out` if that is given.

        Raises `ValueError` for rows that cannot be read.
        """
        ...


class RawStore:
    """Decoded images, memory-mapped from shards."""

    def __init__(self, files: ShardFiles, places: Ids, size: int) -> None:
        self._reader, self._places, self.size = ShardReader(files), places, size

    def __reduce__(self) -> tuple[object, ...]:
        return RawStore, (self._reader.files, self._places, self.size)

    def __len__(self) -> int:
        return len(self._places)

    def select(self, row_ids: Ids) -> "RawStore":
        """The images of `row_ids` as rows 0 … k - 1; cheap to send to another process."""
        return RawStore(self._reader.files, self._places[row_ids], self.size)

    def gather(self, row_ids: Ids, out: Pixels | None = None) -> Pixels:
        """`(b, size, size, 3)` uint8, a copy."""
        places = self._places[row_ids]
        if (places < 0).any():
            raise ValueError("rows that cannot be read have no pixels")
        shape = (len(places), self.size, self.size, 3)
        pixels = np.empty(shape, np.uint8) if out is None else out
        self._reader.gather(places, pixels.reshape(len(places), self.size**2 * 3))
        return pixels


@dataclass
class FileStore:
    """Images decoded at each use, by threads on all cores."""

    root: Path
    paths: list[str]
    sha256s: list[str]
    images: Images
    change: FileChange | None = None
    _threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(count_workers()), repr=False
    )

    def __reduce__(self) -> tuple[object, ...]:
        return _open_alone, (self.root, self.paths, self.sha256s, self.images, self.change)

    @property
    def size(self) -> int:
        """Side in pixels."""
        return self.images.size

    def __len__(self) -> int:
        return len(self.paths)

    def select(self, row_ids: Ids) -> "FileStore":
        """The images of `row_ids` as rows 0 … k - 1; cheap to send to another process."""
        paths, sha256s = ([values[i] for i in row_ids] for values in (self.paths, self.sha256s))
        return FileStore(self.root, paths, sha256s, self.images, self.change, self._threads)

    def gather(self, row_ids: Ids, out: Pixels | None = None) -> Pixels:
        """`(b, size, size, 3)` uint8. Raises `ManifestError` for a file that has changed."""
        size = self.images.size
        pixels = np.empty((len(row_ids), size, size, 3), np.uint8) if out is None else out
        for i, square in enumerate(self._threads.map(self._decode, row_ids.tolist())):
            pixels[i] = square
        return pixels

    def _decode(self, row: int) -> Pixels:
        path = self.paths[row]
        try:
            content = read_content(self.root, path, ANYWHERE)
            if content.sha256 != self.sha256s[row]:
                raise ImageProblem("its content is another one")
            change = self.change and self.change.bind(self.sha256s[row])
            return decode_square(content.data, self.images, change=change)
        except ImageProblem as problem:
            raise ManifestError(path, [str(problem)], ADVICE) from None


def _open_alone(
    root: Path, paths: list[str], sha256s: list[str], images: Images, change: FileChange | None
) -> FileStore:
    """In one process of many, which decodes by itself."""
    return FileStore(root, paths, sha256s, images, change, ThreadPoolExecutor(1))


def open_changed(manifest: Manifest, root: Path, images: Images, change: FileChange) -> FileStore:
    """The images of a manifest, each changed as a file before it becomes a square."""
    paths, sha256s = manifest.read("path"), manifest.read("sha256")
    return FileStore(root, paths.tolist(), sha256s.tolist(), images, change)


def open_store(manifest: Manifest, root: Path, images: Images) -> ImageStore:
    """The images of a manifest; decodes first what `images.store` keeps and is not there yet.

    Raises `StaleArtifactError` where a sample of the files is not what the manifest says.
    """
    check_sample(manifest, root)
    sha256s = manifest.read("sha256")
    readable = manifest.readable
    with ImageCache(images) as cache:
        slots = cache.find_slots(sha256s)
        lacking = int((readable & (slots < 0)).sum())
        if not keep_pixels(images, lacking, lacking * images.image_bytes):
            return FileStore(root, manifest.read("path").tolist(), sha256s.tolist(), images)
        if cache.drop_damaged(sample_blocks(slots[slots >= 0] // BLOCK * BLOCK)):
            cache.drop_damaged()  # where one is, others may be
            slots = cache.find_slots(sha256s)
        missing = np.flatnonzero(readable & (slots < 0))
        if len(missing):
            _fill(cache, manifest, root, missing)
            slots = cache.find_slots(sha256s)
        return RawStore(cache.pixels, cache.place_pixels(slots), images.size)


def keep_pixels(images: Images, missing: int, needed: int) -> bool:
    """Whether decoded images are kept on the disk, where so many are not yet, which take `needed`
    bytes; logs why."""
    if images.store != "auto" or not missing:
        return images.store != "none"
    free = shutil.disk_usage(images.store_dir).free
    kept = needed <= SHARE * free
    _log.info(
        "images: %d to decode, %.1f GB in %s, %.1f GB free: %s (images.store auto keeps them "
        "where they fit into half of it)",
        missing, needed / 1e9, images.store_dir, free / 1e9,
        "kept decoded" if kept else "decoded anew at each use",
    )  # fmt: skip
    return kept


def _fill(cache: ImageCache, manifest: Manifest, root: Path, rows: Ids) -> None:
    paths, sha256s = (manifest.read(name).iloc[rows].tolist() for name in ("path", "sha256"))
    title = f"decode {manifest.role}"
    found = cache.scan(root, paths, NO_LIMITS, True, title, ANYWHERE)
    problems = [
        f"{path}: {problem or 'its content is another one'}"
        for path, sha256, problem, seen in zip(
            paths, sha256s, found["problem"], found["sha256"], strict=True
        )
        if sha256 != seen
    ]
    if problems:
        raise ManifestError(f"{manifest.role} images", problems, ADVICE)


def sample_blocks(blocks: Ids) -> list[int]:
    """Those of the blocks of a cache whose bytes are compared before it is used."""
    drawn: list[int] = np.random.default_rng(0).permutation(np.unique(blocks)).tolist()
    return drawn[:SAMPLED_BLOCKS]


def check_sample(manifest: Manifest, root: Path) -> None:
    """Raises `StaleArtifactError` if the size of one of 1,000 seeded files has changed."""
    known = np.flatnonzero(manifest.readable)
    rows = pd.Series(known).sample(min(SAMPLED, len(known)), random_state=0)
    sample = (manifest.read(name).iloc[rows] for name in ("path", "bytes"))
    for path, size in zip(*sample, strict=True):
        found, _ = read_state(os.path.join(root, path))
        if found not in (None, size):
            seen = "a missing file" if found == -1 else f"a file of {found} bytes"
            text = f"{root / path}: the manifest"
            raise StaleArtifactError(text, f"a file of {size} bytes", seen, "-f prepare")
