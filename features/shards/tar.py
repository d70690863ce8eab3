"""Tar archives: their files in order, and where the bytes of each are.

for file in list_tar(Path("train-000.tar")): ...   # PackedFile("real/a.jpg", 1536, 20480)
"""

import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from features.errors import PictureError
from features.shards.names import UNPACK

LONGEST_HEADER = 1 << 20
"""Bytes that may describe one file, its name among them."""
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"\x28\xb5": "zstd"}
"""First bytes of what is no plain tar."""
COPY = "copy it again, or write it anew"


class PackedFile(NamedTuple):
    """A regular file in an archive."""

    name: str
    offset: int
    size: int


class _Headers:
    """An archive as `tarfile` reads it that never asks for files' contents."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._file.read(size)


def iterate_members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """All of them, one at a time: a shard may hold a million, and each takes a kilobyte."""
    while (member := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined]
        yield member


@contextmanager
def report_tar(path: Path) -> Iterator[None]:
    """What `tarfile` raises of a damaged archive becomes a `PictureError`."""
    try:
        yield
    # as the last three, what strange numbers in headers raise
    except (tarfile.TarError, OSError, EOFError, ValueError, IndexError, OverflowError) as error:
        raise PictureError(str(path), [f"no whole tar archive: {error}; {COPY}"]) from error


def list_tar(path: Path) -> Iterator[PackedFile]:
    """Regular files, by their headers alone, in the order of the archive.

    Raises `PictureError`: for links, devices and files with holes, for an archive that is
    compressed, damaged or cut, also where just its end is missing.
    """
    with report_tar(path), open(path, "rb") as file:
        if kind := COMPRESSED.get(file.read(2)):
            raise PictureError(str(path), [f"compressed ({kind}); {UNPACK}"])
        file.seek(0)
        size = os.fstat(file.fileno()).st_size
        headers = cast(BinaryIO, _Headers(file))
        odd: list[str] = []
        last = "its start"
        with tarfile.open(fileobj=headers, mode="r:") as archive:
            for member in iterate_members(archive):
                if member.size < 0 or member.offset_data + member.size > size:
                    raise PictureError(str(path), [f"cut short in {member.name!r}: {COPY}"])
                last = repr(member.name)
                if member.isreg() and not member.issparse():
                    yield PackedFile(member.name, member.offset_data, member.size)
                elif not member.isdir():
                    odd.append(member.name)
            end = archive.offset
        file.seek(end)
        _check_end(path, file.read(tarfile.BLOCKSIZE), last)
        if odd:
            problem = (
                f"{len(odd)} links, devices or the like, such as {odd[0]!r}, not regular files"
            )
            raise PictureError(str(path), [f"{problem}: write it with tar --dereference"])


def _check_end(path: Path, block: bytes, last: str) -> None:
    """`tarfile` takes whatever is no header for the end."""
    if len(block) < tarfile.BLOCKSIZE:
        raise PictureError(str(path), [f"cut short after {last}, the end is missing: {COPY}"])
    if block.strip(b"\0"):
        raise PictureError(str(path), [f"damaged after {last}, there is no header: {COPY}"])
