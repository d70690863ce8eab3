"""Decoded pictures in their own shape, found by the sha256 of their content.

Shards of `pictures` hold them one after the other, `(h, w, 3)` uint8; `index.sqlite` where each
begins, and of each block of them a checksum. Raw, because squares are read out of them: no other
form gives up a part without decoding all (`benchmarks.images`).
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import delayed

from features.caching.filling import run_tasks
from features.caching.indexed_folder import ASKED, mark_values
from features.caching.shard_files import ShardFiles, Spot, place_block
from features.caching.sharded_folder import BlockPart, ShardedFolder
from features.core.files import name_place
from features.core.manifest import Ids
from features.core.trusted import ANYWHERE
from features.errors import ImageProblem
from features.pixels.decoding import Change, Pixels, decode_unsquared
from features.pixels.kernels import settle_kernels
from features.pixels.reading import read_content
from features.runtime.memory import count_workers
from features.runtime.progress import show_progress
from features.settings.images import Images

FORM = 2
"""Counts up when decoding, resizing or the index change."""
BLOCK, BLOCK_BYTES = 64, 1 << 25
"""Pictures of a block at most, and bytes after which it is full. It is named by its place."""
MANY = 10_000
"""Pictures from which on processes decode them: `features.pixels.cache`."""
PIXELS_OF_BYTE = 9
"""Decoded bytes of one of a JPEG, about."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS pictures (
    sha256 TEXT PRIMARY KEY, place INTEGER, bytes INTEGER, block INTEGER);
CREATE INDEX IF NOT EXISTS members ON pictures (block);
"""


@dataclass(frozen=True)
class PictureBlock:
    """Pictures that are decoded, checked and recorded together, from `place` on."""

    place: int
    paths: list[str]
    sha256s: list[str]
    sizes: list[int]
    """Bytes of each."""


@dataclass(frozen=True)
class WrittenBlock:
    """What a worker has written of a block, and by position why pictures are none of it."""

    block: PictureBlock
    checksum: int
    problems: dict[int, str]


class PictureCache(ShardedFolder):
    """The cache of pictures of one kind: `longest` is their longest side, `None` their own."""

    def __init__(self, images: Images, longest: int | None) -> None:
        self.images, self.longest = images, longest
        kind = "native" if longest is None else f"fit-{longest}px"
        equalized = "-equalized" if images.equalize else ""
        folder = Path(images.store_dir) / f"{kind}-{FORM}{equalized}"
        self.pictures = ShardFiles(folder, "pictures")
        super().__init__(folder, _SCHEMA, (self.pictures,))

    def find_places(self, sha256s: pd.Series, sizes: Ids) -> tuple[Ids, Ids]:
        """`(n,)` places of these contents, of so many bytes, in `pictures`, and their blocks; -1:
        not there."""
        found = np.full((len(sha256s), 2), -1, np.int64)
        for start in range(0, len(sha256s), ASKED):
            asked = sha256s.iloc[start : start + ASKED].tolist()
            query = "SELECT sha256, bytes, place, block FROM pictures WHERE sha256 IN ({})"
            rows = self._index.execute(query.format(mark_values(asked)), asked)
            known = {(sha256, size): places for sha256, size, *places in rows}
            keys = zip(asked, sizes[start : start + ASKED].tolist(), strict=True)
            found[start : start + len(asked)] = [known.get(key, (-1, -1)) for key in keys]
        return found[:, 0], found[:, 1]

    def _forget(self, block: int) -> None:
        self._index.execute("DELETE FROM pictures WHERE block = ?", [block])

    def fill(self, root: Path, wanted: pd.DataFrame, sizes: Ids, title: str) -> list[str]:
        """Decodes pictures, rows of a manifest's table, each of `sizes` bytes; returns problems."""
        (last,) = self._index.execute("SELECT MAX(place + bytes) FROM parts").fetchone()
        blocks = split_blocks(wanted, sizes, last or 0)
        is_much = len(wanted) >= MANY
        worker_bytes = sizes.sum() / PIXELS_OF_BYTE / count_workers() if is_much else None
        tasks = (
            delayed(write_block)(
                root,
                block,
                self.pictures.locate(block.place),
                self.images,
                self.longest,
                worker_bytes,
            )
            for block in blocks
        )
        problems: list[str] = []
        with show_progress(title, len(wanted), "images") as meter:

            def record(done: WrittenBlock) -> None:
                problems.extend(f"{done.block.paths[i]}: {why}" for i, why in done.problems.items())
                self._record(done)
                meter.advance(len(done.block.paths))

            run_tasks(tasks, is_much, record, self.commit)
        return problems

    def _record(self, done: WrittenBlock) -> None:
        block, place = done.block, done.block.place
        rows = []
        for i, (sha256, size) in enumerate(zip(block.sha256s, block.sizes, strict=True)):
            if i not in done.problems:
                rows.append((sha256, place, size, block.place))
            place += size
        written = BlockPart(self.pictures, block.place, sum(block.sizes), done.checksum)
        with name_place(self.index_path):
            self._index.executemany("INSERT OR REPLACE INTO pictures VALUES (?, ?, ?, ?)", rows)
            self._record_parts(block.place, [written])


def split_blocks(wanted: pd.DataFrame, sizes: Ids, place: int) -> Iterator[PictureBlock]:
    """Rows of a manifest's table in blocks, each in one shard, from `place` on."""
    paths, sha256s = wanted["path"].to_numpy(), wanted["sha256"].to_numpy()
    start = 0
    while start < len(wanted):
        filled = np.cumsum(sizes[start : start + BLOCK])
        stop = start + min(len(filled), int(np.searchsorted(filled, BLOCK_BYTES)) + 1)
        rows, size = slice(start, stop), int(sizes[start:stop].sum())
        place = place_block(place, size)
        yield PictureBlock(place, [*paths[rows]], [*sha256s[rows]], sizes[rows].tolist())
        place += size
        start = stop


def write_block(
    root: Path,
    block: PictureBlock,
    spot: Spot,
    images: Images,
    longest: int | None,
    worker_bytes: float | None = None,
) -> WrittenBlock:
    """Decodes the pictures of a block, and writes them where it belongs. `worker_bytes`: of all
    files that a process of joblib's will decode (`settle_kernels`)."""
    if worker_bytes is not None:
        settle_kernels(worker_bytes)
    checksum, problems = 0, {}
    with spot.open() as file:
        for i, (name, sha256, size) in enumerate(
            zip(block.paths, block.sha256s, block.sizes, strict=True)
        ):
            try:
                content = np.ascontiguousarray(decode_known(root, name, sha256, images, longest))
                if content.nbytes != size:
                    raise ImageProblem("it decodes to another size")
            except ImageProblem as problem:
                problems[i] = str(problem)
                content = np.zeros(size, np.uint8)
            checksum = zlib.crc32(content.data, checksum)
            file.write(content.data)
    return WrittenBlock(block, checksum, problems)


def decode_known(
    root: Path,
    path: str,
    sha256: str,
    images: Images,
    longest: int | None,
    change: Change | None = None,
) -> Pixels:
    """`(h, w, 3)` of the picture of this sha256, changed first; raises `ImageProblem`."""
    content = read_content(root, path, ANYWHERE)
    if content.sha256 != sha256:
        raise ImageProblem("its content is another one")
    return decode_unsquared(content.data, images, longest, change=change)
