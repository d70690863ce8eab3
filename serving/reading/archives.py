"""Tar archives, such as the shards of WebDataset: pictures among other files."""

import logging
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from features.errors import ImageProblem
from features.shards.names import COMPRESSED_ENDINGS, PICTURE_ENDINGS, TAR
from features.shards.tar import iterate_members, report_tar
from serving.reading.pictures import (
    GivenPicture,
    check_content,
    check_size,
    refuse_picture,
    report_short_memory,
    tell_file,
)
from serving.reading.texts import show_name, spell_name

_log = logging.getLogger("forgerystack")
TAR_ENDINGS = (TAR, *COMPRESSED_ENDINGS)


@dataclass(frozen=True)
class TarSource:
    """An archive, read from its start to its end; nothing of it is unpacked to the disk."""

    path: Path
    prefix: str
    """Of the names of its pictures."""

    def list_names(self) -> list[str]:
        """Of the pictures, in the archive's order. It is said how many links there are."""
        names, links = [], []
        with self._open() as archive:
            for member in iterate_members(archive):
                if _is_picture(member):
                    names.append(self._name(member))
                elif _is_called_so(member) and (member.issym() or member.islnk()):
                    links.append(show_name(spell_name(member.name)))
        if links:
            _log.warning(
                "%s: links are left out: %s, such as %s; write it with tar --dereference "
                "--hard-dereference", show_name(str(self.path)), f"{len(links):,}", links[0],
            )  # fmt: skip
        return names

    def open(self) -> Iterator[GivenPicture]:
        """The content of one picture at a time is in memory."""
        state = tell_file(self.path)
        with self._open() as archive:
            for member in filter(_is_picture, iterate_members(archive)):
                name = self._name(member)
                try:
                    content = _read_member(archive, member)
                except ImageProblem as problem:
                    yield refuse_picture(name, problem)
                else:
                    load, held = partial(check_content, content), len(content)
                    yield GivenPicture(name, load, held=held, state=state)

    def _name(self, member: tarfile.TarInfo) -> str:
        return self.prefix + spell_name(member.name)

    @contextmanager
    def _open(self) -> Iterator[tarfile.TarFile]:
        with report_tar(self.path), tarfile.open(self.path) as archive:
            yield archive


def _is_picture(member: tarfile.TarInfo) -> bool:
    return member.isfile() and _is_called_so(member)


def _is_called_so(member: tarfile.TarInfo) -> bool:
    name = member.name.rpartition("/")[2]
    return name[:1] != "." and name.lower().endswith(PICTURE_ENDINGS)


def _read_member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """Raises `ImageProblem` for what is too large."""
    check_size(member.size)
    with report_short_memory(member.size):
        file = archive.extractfile(member)
        return file.read() if file else b""
