"""What is known about image files, and their pixels: a cache that a killed run leaves usable.

One folder for each size: `index.sqlite` (facts of each file, checksums) and shards of `images`
(uint8 squares) and `thumbnails` (32 x 32, grey). A file is known as long as its size and its
modification time stay, and its pixels are found by the sha256 of its content: labels, roles and
folds are no part of any key.
"""

import itertools
import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import delayed

from features.caching.filling import run_tasks
from features.caching.indexed_folder import ASKED, mark_values
from features.caching.shard_files import ShardFiles, Spot, place_items
from features.caching.sharded_folder import BlockPart, ShardedFolder
from features.core.files import name_place
from features.core.manifest import Ids
from features.pixels.facts import Scan
from features.pixels.reading import order_reads, read_state
from features.pixels.scanning import ScannedBlock, scan_block
from features.pixels.thumbnails import STORED_SIDE
from features.runtime.memory import count_workers
from features.runtime.progress import show_progress
from features.settings.images import Images, Limits

BLOCK = 64
"""Images that are decoded, checked and recorded together: a block, named by its first slot, which
is a multiple of it."""
FORM = 4
"""Counts up when decoding, resizing, thumbnails or the index change."""
MANY = 10_000
"""Files from which on processes read them. Threads start at once and scale too, since decoders let
go of the interpreter lock, but on two cores already processes are 1.2 times as fast."""
SOME, USUAL = 100, 100_000
"""Files that tell how large all are, and bytes of one whose size nothing tells."""
FACTS = [field.name for field in fields(Scan) if field.name != "problem"]
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS files (
    slot INTEGER PRIMARY KEY, place TEXT UNIQUE, mtime INTEGER, hash BLOB, {", ".join(FACTS)});
CREATE INDEX IF NOT EXISTS contents ON files (sha256);
"""
_PIXELS = "EXISTS (SELECT 1 FROM parts WHERE block = slot / {block} * {block} AND name = 'images')"
_KNOWN = f"SELECT place, bytes, mtime, {_PIXELS} FROM files WHERE place IN ({{marks}})"
_SLOTS = f"SELECT sha256, slot FROM files WHERE sha256 IN ({{marks}}) AND {_PIXELS}"


class ImageCache(ShardedFolder):
    """The cache of images of one size."""

    def __init__(self, images: Images) -> None:
        self.images = images
        kind = "-equalized" if images.equalize else ""
        folder = Path(images.store_dir) / f"{images.size}px-{FORM}{kind}"
        self.pixels = ShardFiles(folder, "images")
        self.thumbnails = ShardFiles(folder, "thumbnails")
        super().__init__(folder, _SCHEMA, (self.pixels, self.thumbnails))

    def scan(
        self,
        root: Path,
        paths: Sequence[str],
        limits: Limits,
        pixels: bool | Callable[[int], bool],
        title: str,
        trusted: tuple[str, ...] = (),
    ) -> pd.DataFrame:
        """Facts of files below `root` `(n rows)`, in the order of `paths`; reads what is unknown.

        Columns: the fields of `Scan`, `slot` (-1 where there is a problem) and `hash`, 32 bytes.
        With `pixels`, those of every readable file are in the cache afterwards; it may be a
        function that decides so by the number of files whose pixels are not there yet. `trusted` is
        that of `read_inside`.
        """
        unread, undecoded = self._look_up(root, paths)
        kept = pixels if isinstance(pixels, bool) else pixels(len(undecoded))
        missing = undecoded if kept else unread
        problems = self._fill(root, paths, missing, limits, kept, title, trusted)
        return self._collect(root, paths, problems, limits)

    def find_slots(self, sha256s: pd.Series) -> Ids:
        """`(n,)` slots of these contents; -1 where there are no pixels."""
        slots = np.full(len(sha256s), -1, np.int64)
        for start in range(0, len(sha256s), ASKED):
            asked = sha256s.iloc[start : start + ASKED].tolist()
            query = _SLOTS.format(block=BLOCK, marks=mark_values(asked))
            known = dict(self._index.execute(query, asked))
            slots[start : start + len(asked)] = [known.get(s, -1) for s in asked]
        return slots

    def place_pixels(self, slots: Ids) -> Ids:
        """`(n,)` places of squares in `pixels`; -1 stays."""
        return place_items(slots, self.images.image_bytes, BLOCK)

    def place_thumbnails(self, slots: Ids) -> Ids:
        """`(n,)` places in `thumbnails`; -1 stays."""
        return place_items(slots, STORED_SIDE**2, BLOCK)

    def _forget(self, block: int) -> None:
        query = "DELETE FROM files WHERE slot >= ? AND slot < ?"
        self._index.execute(query, [block, block + BLOCK])

    def _look_up(self, root: Path, paths: Sequence[str]) -> tuple[Ids, Ids]:
        """Positions in `paths` of files that are unknown or changed; and of these and those whose
        pixels are not here."""
        unread: list[int] = []
        undecoded: list[int] = []
        for start in range(0, len(paths), ASKED):
            places = _list_places(root, paths[start : start + ASKED])
            query = _KNOWN.format(block=BLOCK, marks=mark_values(places))
            known = {place: facts for place, *facts in self._index.execute(query, places)}
            for i, place in enumerate(places, start):
                size, mtime, pixels = known.get(place, (-1, -1, 0))
                seen_size, seen_time = read_state(place)
                changed = place not in known or mtime != seen_time or seen_size not in (None, size)
                if changed:
                    unread.append(i)
                if changed or not pixels:
                    undecoded.append(i)
        return np.asarray(unread, np.int64), np.asarray(undecoded, np.int64)

    def _fill(
        self,
        root: Path,
        paths: Sequence[str],
        missing: Ids,
        limits: Limits,
        pixels: bool,
        title: str,
        trusted: tuple[str, ...],
    ) -> dict[int, str]:
        """Reads and records the missing files; returns the problems by position in `paths`."""
        missing = missing[order_reads([paths[p] for p in missing])]
        (last,) = self._index.execute("SELECT MAX(block) FROM parts").fetchone()
        first = 0 if last is None else last + BLOCK
        parts = [missing[i : i + BLOCK] for i in range(0, len(missing), BLOCK)]
        is_much = len(missing) >= MANY
        worker_bytes = estimate_bytes(root, paths, missing) / count_workers() if is_much else None
        tasks = (
            delayed(scan_block)(
                root, [paths[p] for p in part], start, limits, self.images,
                *self._locate(start, pixels), trusted, worker_bytes,
            )
            for start, part in zip(itertools.count(first, BLOCK), parts, strict=False)
        )  # fmt: skip
        problems: dict[int, str] = {}
        waiting = iter(parts)
        with show_progress(title, len(missing), "images") as meter:

            def record(done: ScannedBlock) -> None:
                part = next(waiting)
                self._record(root, [paths[p] for p in part], done)
                bad = zip(part.tolist(), done.scans, strict=True)
                problems.update((p, scan.problem) for p, scan in bad if scan.problem)
                meter.advance(len(part))

            run_tasks(tasks, is_much, record, self.commit)
        return problems

    def _locate(self, slot: int, pixels: bool) -> tuple[Spot, Spot | None]:
        """Where thumbnail and pixels of a slot belong."""
        thumbnails, squares = self._place(slot)
        spot = self.pixels.locate(squares) if pixels else None
        return self.thumbnails.locate(thumbnails), spot

    def _place(self, slot: int) -> tuple[int, int]:
        slots = np.array([slot])
        return int(self.place_thumbnails(slots)[0]), int(self.place_pixels(slots)[0])

    def _record(self, root: Path, paths: list[str], done: ScannedBlock) -> None:
        rows = [
            (done.start + i, place, done.mtimes[i], done.hashes[i].tobytes(),
             *(getattr(done.scans[i], name) for name in FACTS))
            for i, place in enumerate(_list_places(root, paths))
            if not done.scans[i].problem
        ]  # fmt: skip
        marks = ", ".join("?" * (4 + len(FACTS)))
        count, (thumbnails, squares) = len(done.scans), self._place(done.start)
        written = [
            BlockPart(self.thumbnails, thumbnails, count * STORED_SIDE**2, done.thumbnails_checksum)
        ]
        if done.pixels_checksum is not None:
            size = count * self.images.image_bytes
            written.append(BlockPart(self.pixels, squares, size, done.pixels_checksum))
        with name_place(self.index_path):
            self._index.executemany(f"INSERT OR REPLACE INTO files VALUES ({marks})", rows)
            self._record_parts(done.start, written)

    def _collect(
        self, root: Path, paths: Sequence[str], problems: dict[int, str], limits: Limits
    ) -> pd.DataFrame:
        names = ["slot", "hash", *FACTS]
        blank = {"slot": -1, "hash": b"", **{name: getattr(Scan(""), name) for name in FACTS}}
        parts = [pd.DataFrame(columns=["problem", *names])]
        for start in range(0, len(paths), ASKED):
            places = _list_places(root, paths[start : start + ASKED])
            query = f"SELECT place, {', '.join(names)} FROM files WHERE place IN "
            query += f"({mark_values(places)})"
            found = self._index.execute(query, places)
            known = {place: dict(zip(names, facts, strict=True)) for place, *facts in found}
            rows = []
            for i, place in enumerate(places, start):
                facts = blank if i in problems else known[place]
                size = (facts["format"], facts["width"], facts["height"])
                # What is known may have been read under other limits.
                problem = problems.get(i) or limits.find_problem(*size)
                rows.append({"problem": problem, **(blank if problem else facts)})
            parts.append(pd.DataFrame(rows))
        return pd.concat(parts[min(1, len(parts) - 1) :], ignore_index=True)


def estimate_bytes(root: Path, paths: Sequence[str], missing: Ids) -> float:
    """Of the files at these positions, by some of them."""
    some = missing[:: max(1, len(missing) // SOME)]
    sizes = [read_state(place)[0] for place in _list_places(root, [paths[p] for p in some])]
    return len(missing) * statistics.mean(USUAL if size is None else max(size, 0) for size in sizes)


def _list_places(root: Path, paths: Sequence[str]) -> list[str]:
    base = root.resolve()
    return [os.path.join(base, path) for path in paths]
