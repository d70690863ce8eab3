"""A file in a shard, opened by its place: one read of a tar, one row group of a table.

A few shards stay open in each process. Each read names its place, so threads share a descriptor,
and so do forked processes; what guards the tables is made anew in these.
"""

import functools
import io
import os
import threading
from collections import OrderedDict
from typing import Any, NamedTuple

from features.errors import ImageProblem, PictureError
from features.shards.names import AT, ShardMember
from features.shards.tables import open_image_table

OpenedFile = io.BufferedReader | io.BytesIO
OPEN = 16
"""Tars that stay open."""
KEPT_BYTES = 1 << 29
"""Of row groups that stay in memory, beside the one that was read last."""
REPLACED = "the shard ends before it: it was cut, or is another one now"


class ShardState(NamedTuple):
    """By which a file that was replaced under its name is told."""

    place: str
    inode: int
    size: int
    mtime: int


class _Descriptor:
    """Closed when nobody holds it any more: neither the cache nor a reader."""

    number = -1

    def __init__(self, place: str) -> None:
        # Both flags matter only if somebody swaps the file right now.
        self.number = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)

    def __del__(self) -> None:
        if self.number >= 0:
            os.close(self.number)


class _Extent(io.RawIOBase):
    """Some bytes of a file, as a file."""

    def __init__(self, descriptor: _Descriptor, start: int, size: int) -> None:
        self._descriptor, self._start, self._size, self._position = descriptor, start, size, 0

    def readable(self) -> bool:
        """True: `io` asks before it reads."""
        return True

    def seekable(self) -> bool:
        """True: decoders of videos seek."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """From the first byte of the extent, the position, or its end."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Bytes from the first one."""
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fills `buffer` as far as there are bytes."""
        view = memoryview(buffer).cast("B")
        view = view[: max(0, self._size - self._position)]
        count = os.preadv(self._descriptor.number, [view], self._start + self._position)
        self._position += count
        return count


def open_packed(place: str, state: os.stat_result, member: ShardMember) -> OpenedFile:
    """A file in the shard at `place`, a path without links, whose state is that of now.

    Raises `ImageProblem`, and `OSError` as the system does.
    """
    found = ShardState(place, state.st_ino, state.st_size, state.st_mtime_ns)
    if member.kind != AT:
        return io.BytesIO(_read_cell(found, member.first, member.second))
    if member.first + member.second > state.st_size:
        raise ImageProblem(REPLACED)
    extent = _Extent(_open_shard(found), member.first, member.second)
    return io.BufferedReader(extent)


@functools.lru_cache(maxsize=OPEN)
def _open_shard(state: ShardState) -> _Descriptor:
    return _Descriptor(state.place)


class _RowGroups:
    """Contents of the row groups that were read last, as `pyarrow` binaries.

    Threads that want one of them wait until it is there, and share it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[ShardState, int], Any] = OrderedDict()
        self._size = 0

    def read(self, state: ShardState, group: int) -> Any:
        """`(n,)`. Raises `ImageProblem`."""
        key = (state, group)
        with self._lock:
            if key not in self._kept:
                try:
                    with open_image_table(state.place) as table:
                        self._kept[key] = table.read_contents(group)
                except PictureError as error:
                    raise ImageProblem(f"cannot be read: {error.problems[0]}") from None
                self._size += self._kept[key].nbytes
            self._kept.move_to_end(key)
            while self._size > KEPT_BYTES and len(self._kept) > 1:
                self._size -= self._kept.popitem(last=False)[1].nbytes
            return self._kept[key]


_groups = _RowGroups()


def _read_cell(state: ShardState, group: int, row: int) -> bytes:
    cells = _groups.read(state, group)
    if row >= len(cells):
        raise ImageProblem(REPLACED)
    return cells[row].as_py() or b""


def _start_anew() -> None:
    """In a forked process: a thread that is not there may have held the lock."""
    global _groups
    _groups = _RowGroups()


os.register_at_fork(after_in_child=_start_anew)
