"""Bytes of a cache in shards: files of bounded size, written by blocks, mapped when asked for.

A *place* counts bytes: it lies in shard `place // SHARD_BYTES`, `place % SHARD_BYTES` from its
start. What is written at once lies in one shard, so a place leads to a file without any table.

files = ShardFiles(folder, "images")
with files.locate(place).open() as file:     # folder/images-00000.bin
    file.write(content)
(found,) = ShardReader(files).read(np.array([place]), np.array([len(content)]))
"""

import mmap
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import repeat
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt

from features.core.files import name_place
from features.core.manifest import Ids
from features.errors import IntegrityError

SHARD_BYTES = 1 << 32
"""Of one shard at most (ADR 26)."""
OPEN = 128
"""Shards that a reader keeps mapped, half a terabyte. Each takes a file descriptor, of which a
process has 1,024 by default, and a stage has readers for three roles."""
READ = 1 << 24
"""Bytes that are read at a time."""
_WILL_NEED = getattr(mmap, "MADV_WILLNEED", None)
Bytes = npt.NDArray[np.uint8]


class Spot(NamedTuple):
    """A place as a file and the bytes before it there."""

    path: Path
    start: int

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The shard, to write from here on; it is made where it is not there."""
        with name_place(self.path), open(self.path, "r+b", opener=_open_or_make) as file:
            file.seek(self.start)
            yield file

    def compute_checksum(self, size: int) -> int | None:
        """crc32 of the `size` bytes from here on; `None` where the shard has not so many."""
        checksum, left = 0, size
        try:
            with open(self.path, "rb") as file:
                file.seek(self.start)
                while left and (content := file.read(min(left, READ))):
                    checksum = zlib.crc32(content, checksum)
                    left -= len(content)
        except FileNotFoundError:
            return None
        return None if left else checksum


def _open_or_make(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o666)


@dataclass(frozen=True)
class ShardFiles:
    """The shards `<name>-00000.bin`, `<name>-00001.bin`, … of a folder."""

    folder: Path
    name: str

    def locate(self, place: int) -> Spot:
        """The shard of this place, and where in it."""
        number, start = divmod(place, SHARD_BYTES)
        return Spot(self.folder / f"{self.name}-{number:05d}.bin", start)

    def list_paths(self) -> list[Path]:
        """Those that are there."""
        return sorted(self.folder.glob(f"{self.name}-*.bin"))


def place_items(numbers: Ids, size: int, together: int) -> Ids:
    """`(n,)` places of items of `size` bytes, by number; -1 stays.

    As many as are written `together` begin at a multiple of that, and lie in one shard.
    """
    each = SHARD_BYTES // size // together * together
    places = numbers // each * SHARD_BYTES + numbers % each * size
    return np.where(numbers < 0, -1, places)


def place_block(place: int, size: int) -> int:
    """Where `size` bytes may be written together, from `place` on: there, or in the next shard."""
    left = -place % SHARD_BYTES or SHARD_BYTES
    return place if size <= left else place + left


class _MappedShard(NamedTuple):
    path: Path
    size: int
    map: mmap.mmap
    content: Bytes

    def list_items(self, size: int) -> Bytes:
        """`(k, size)`: all of it, as items of this size."""
        return self.content[: self.size // size * size].reshape(-1, size)


def _map_shard(files: ShardFiles, number: int) -> _MappedShard:
    path = files.locate(number * SHARD_BYTES).path
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return _MappedShard(path, len(mapped), mapped, np.frombuffer(mapped, np.uint8))


def _announce(shards: Iterable[_MappedShard], starts: Ids, stops: Ids) -> None:
    """Tells the disk what will be read of each shard; raises `IntegrityError` where it is gone."""
    pages = starts // mmap.PAGESIZE * mmap.PAGESIZE
    spans = (stops.tolist(), pages.tolist(), (stops - pages).tolist())
    for (path, size, mapped, _), stop, page, length in zip(shards, *spans, strict=False):
        if stop > size:
            reason = f"{size} bytes, of which more were written"
            raise IntegrityError(path, reason, "Run it again, and it is mended")
        if _WILL_NEED is not None:
            mapped.madvise(_WILL_NEED, page, length)


class ShardReader:
    """Reads what lies in shards; opens one when something in it is asked for. For any thread.

    The disk is told of all that is asked for at once, where a map would ask for one page at a time:
    out of a cold file that is 3 times as fast, in memory it costs 3 µs each. All methods raise
    `IntegrityError` where bytes are gone.
    """

    def __init__(self, files: ShardFiles) -> None:
        self.files = files
        # What is no longer kept is closed with the last array that looks into it.
        self._open = lru_cache(OPEN)(partial(_map_shard, files))

    def __reduce__(self) -> tuple[object, ...]:
        return ShardReader, (self.files,)

    def read(self, places: Ids, sizes: Ids) -> list[Bytes]:
        """So many bytes from each place on, mapped."""
        numbers, starts = np.divmod(places, SHARD_BYTES)
        shards, stops = [self._open(number) for number in numbers.tolist()], starts + sizes
        _announce(shards, starts, stops)
        spans = zip(shards, starts.tolist(), stops.tolist(), strict=True)
        return [content[start:stop] for (_, _, _, content), start, stop in spans]

    def gather(self, places: Ids, out: Bytes) -> None:
        """Fills `out`, `(n, size)`, with large items, which lie at multiples of their size."""
        size = out.shape[1]
        numbers, starts = np.divmod(places, SHARD_BYTES)
        if len(numbers) and (numbers == numbers[0]).all():
            # One copy of all: 0.5 µs less for each, where a square of 256 pixels takes 13.
            shard = self._open(int(numbers[0]))
            _announce(repeat(shard), starts, starts + size)
            # With its default mode `take` would fill a buffer of its own first, and copy that.
            np.take(shard.list_items(size), starts // size, axis=0, out=out, mode="clip")
        elif len(places):
            found = self.read(places, np.full_like(places, size))
            np.concatenate(found, out=out.reshape(-1))

    def take(self, places: Ids, size: int) -> Bytes:
        """`(n, size)`: a copy of small items, which lie at multiples of their size."""
        items = np.empty((len(places), size), np.uint8)
        numbers, starts = np.divmod(places, SHARD_BYTES)
        for number in np.unique(numbers).tolist():
            own, shard = numbers == number, self._open(number)
            last = np.sort(starts[own])[-1:]
            _announce([shard], last, last + size)
            items[own] = shard.list_items(size)[starts[own] // size]
        return items
