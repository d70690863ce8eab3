"""Tar archives, such as the shards of WebDataset: pictures among other files."""

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from features.errors import PictureError
from serving.reading.pictures import GivenPicture, check_content

TAR_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
PICTURE_ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".avif", ".bmp", ".gif"),
    *(".tif", ".tiff", ".jp2", ".j2k"),
)
"""Of names in an archive that are taken: others are labels and texts that belong to pictures."""


@dataclass(frozen=True)
class TarSource:
    """An archive, read from its start to its end; nothing of it is unpacked to the disk."""

    path: Path
    prefix: str
    """Of the names of its pictures."""

    def list_names(self) -> list[str]:
        """Of the pictures, in the archive's order."""
        with self._open() as archive:
            return [self.prefix + member.name for member in _list_pictures(archive)]

    def open(self) -> Iterator[GivenPicture]:
        """The content of one picture at a time is in memory."""
        with self._open() as archive:
            for member in _list_pictures(archive):
                file = archive.extractfile(member)
                content = file.read() if file else None
                yield GivenPicture(self.prefix + member.name, partial(check_content, content))

    @contextmanager
    def _open(self) -> Iterator[tarfile.TarFile]:
        try:
            with tarfile.open(self.path) as archive:
                yield archive
        except (tarfile.TarError, OSError, EOFError) as error:
            raise PictureError(str(self.path), [f"no whole tar archive: {error}"]) from error


def _list_pictures(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := archive.next()) is not None:
        # It keeps a kilobyte of each, and a shard may hold a million.
        archive.members.clear()  # type: ignore[attr-defined]
        if _is_picture(member):
            yield member


def _is_picture(member: tarfile.TarInfo) -> bool:
    name = member.name.rpartition("/")[2]
    return member.isfile() and name[:1] != "." and name.lower().endswith(PICTURE_ENDINGS)
