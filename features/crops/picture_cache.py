"""Decoded pictures in their own shape: one file, found by the sha256 of their content.

`pictures.bin` holds them one after the other, `(h, w, 3)` uint8; `index.sqlite` where each begins,
and of each block of them a checksum. Raw, because squares are read out of them: no other form gives
up a part without decoding all (`benchmarks.images`).
"""

import logging
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import delayed

from features.caching.filling import run_tasks
from features.caching.indexed_folder import ASKED, IndexedFolder, mark_values
from features.core.files import name_place
from features.core.manifest import Ids
from features.core.trusted import ANYWHERE
from features.errors import ImageProblem
from features.pixels.decoding import Change, Pixels, decode_unsquared
from features.pixels.reading import read_content
from features.runtime.progress import show_progress
from features.settings.images import Images

FORM = 1
"""Counts up when decoding, resizing or the index change."""
BLOCK, BLOCK_BYTES = 64, 1 << 25
"""Pictures of a block at most, and bytes after which it is full."""
MANY = 10_000
"""Pictures from which on processes decode them: `features.pixels.cache`."""
READ = 1 << 24
"""Bytes that are read at a time."""
_log = logging.getLogger("forgerystack")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS pictures (
    sha256 TEXT PRIMARY KEY, place INTEGER, bytes INTEGER, block INTEGER);
CREATE INDEX IF NOT EXISTS members ON pictures (block);
CREATE TABLE IF NOT EXISTS blocks (
    place INTEGER PRIMARY KEY, bytes INTEGER, checksum INTEGER);
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


class PictureCache(IndexedFolder):
    """The cache of pictures of one kind: `longest` is their longest side, `None` their own."""

    def __init__(self, images: Images, longest: int | None) -> None:
        self.images, self.longest = images, longest
        kind = "native" if longest is None else f"fit-{longest}px"
        equalized = "-equalized" if images.equalize else ""
        folder = Path(images.store_dir) / f"{kind}-{FORM}{equalized}"
        self.pictures_path = folder / "pictures.bin"
        super().__init__(folder, _SCHEMA, (self.pictures_path,))

    def find_places(self, sha256s: Sequence[str], sizes: Ids) -> Ids:
        """`(n,)` places of these contents, of so many bytes, in `pictures.bin`; -1: not there."""
        places = np.full(len(sha256s), -1, np.int64)
        for start in range(0, len(sha256s), ASKED):
            asked = list(sha256s[start : start + ASKED])
            query = "SELECT sha256, bytes, place FROM pictures WHERE sha256 IN ({})"
            found = self._index.execute(query.format(mark_values(asked)), asked)
            known = {(sha256, size): place for sha256, size, place in found}
            keys = zip(asked, sizes[start : start + ASKED].tolist(), strict=True)
            places[start : start + len(asked)] = [known.get(key, -1) for key in keys]
        return places

    def drop_damaged(self, places: Ids | None = None) -> int:
        """Forgets those of the blocks that hold `places` (default: all) whose bytes have changed;
        says how many.
        """
        query = "SELECT place, bytes, checksum FROM blocks ORDER BY place"
        blocks = self._index.execute(query).fetchall()
        if places is not None:
            starts = np.array([block[0] for block in blocks], np.int64)
            held = np.unique(np.searchsorted(starts, places, "right") - 1)
            blocks = [blocks[i] for i in held.tolist()]
        damaged = 0
        for place, size, checksum in blocks:
            if self._compute_checksum(place, size) != checksum:
                damaged += 1
                self._index.execute("DELETE FROM blocks WHERE place = ?", [place])
                self._index.execute("DELETE FROM pictures WHERE block = ?", [place])
        self._index.commit()
        if damaged:
            _log.info("images: %d damaged blocks in %s, read again", damaged, self.folder)
        return damaged

    def _compute_checksum(self, place: int, size: int) -> int:
        checksum = 0
        with open(self.pictures_path, "rb") as file:
            file.seek(place)
            while size > 0 and (content := file.read(min(size, READ))):
                checksum = zlib.crc32(content, checksum)
                size -= len(content)
        return checksum

    def fill(self, root: Path, wanted: pd.DataFrame, sizes: Ids, title: str) -> list[str]:
        """Decodes pictures, rows of a manifest's table, each of `sizes` bytes; returns problems."""
        (last,) = self._index.execute("SELECT MAX(place + bytes) FROM blocks").fetchone()
        blocks = split_blocks(wanted, sizes, last or 0)
        tasks = (
            delayed(write_block)(root, block, self.pictures_path, self.images, self.longest)
            for block in blocks
        )
        problems: list[str] = []
        with show_progress(title, len(wanted), "images") as meter:

            def record(done: WrittenBlock) -> None:
                problems.extend(f"{done.block.paths[i]}: {why}" for i, why in done.problems.items())
                self._record(done)
                meter.advance(len(done.block.paths))

            run_tasks(tasks, len(wanted) >= MANY, record, self.commit)
        return problems

    def _record(self, done: WrittenBlock) -> None:
        block, place = done.block, done.block.place
        rows = []
        for i, (sha256, size) in enumerate(zip(block.sha256s, block.sizes, strict=True)):
            if i not in done.problems:
                rows.append((sha256, place, size, block.place))
            place += size
        values = (block.place, sum(block.sizes), done.checksum)
        with name_place(self.index_path):
            self._index.executemany("INSERT OR REPLACE INTO pictures VALUES (?, ?, ?, ?)", rows)
            self._index.execute("INSERT OR REPLACE INTO blocks VALUES (?, ?, ?)", values)


def split_blocks(wanted: pd.DataFrame, sizes: Ids, place: int) -> Iterator[PictureBlock]:
    """Rows of a manifest's table in blocks, one after the other from `place` on."""
    paths, sha256s = wanted["path"].to_numpy(), wanted["sha256"].to_numpy()
    start = 0
    while start < len(wanted):
        filled = np.cumsum(sizes[start : start + BLOCK])
        stop = start + min(len(filled), int(np.searchsorted(filled, BLOCK_BYTES)) + 1)
        rows = slice(start, stop)
        yield PictureBlock(place, [*paths[rows]], [*sha256s[rows]], sizes[rows].tolist())
        place += int(sizes[rows].sum())
        start = stop


def write_block(
    root: Path, block: PictureBlock, path: Path, images: Images, longest: int | None
) -> WrittenBlock:
    """Decodes the pictures of a block, and writes each at its place of the file `path`."""
    checksum, problems = 0, {}
    with name_place(path), open(path, "r+b") as file:
        file.seek(block.place)
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
