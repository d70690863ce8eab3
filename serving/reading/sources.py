"""Where pictures come from: files, folders, lists, tar archives, Parquet tables, videos.

sources = open_sources(["holiday", "shard-0.tar"])
for picture in list_pictures(sources): ...
"""

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from features.errors import ConfigError, PictureError
from features.lists.folders import Skipped, walk_files
from features.shards.names import MEDIA_ENDINGS, PARQUET
from features.videos.frames import is_video
from serving.reading.archives import TAR_ENDINGS, TarSource
from serving.reading.pictures import GivenPicture, read_file, tell_file
from serving.reading.tables import ParquetSource
from serving.reading.texts import show_name, spell_name
from serving.reading.videos import VideoSource

_log = logging.getLogger("forgerystack")


class Source(Protocol):
    """A file or several, each of which holds a picture or many."""

    def list_names(self) -> list[str]:
        """Of all pictures, in their order. Raises `PictureError`."""
        ...

    def open(self) -> Iterator[GivenPicture]:
        """The pictures, in the same order. Raises `PictureError`."""
        ...


@dataclass(frozen=True)
class FileSource:
    """One file, which is a picture, or will be found to be none."""

    name: str
    path: Path

    def list_names(self) -> list[str]:
        """Its own."""
        return [self.name]

    def open(self) -> Iterator[GivenPicture]:
        """One picture."""
        yield GivenPicture(self.name, partial(read_file, self.path), state=tell_file(self.path))


def open_sources(
    paths: Sequence[str], listed: Sequence[str] = (), out: Path | None = None
) -> list[Source]:
    """`paths` are files and folders; those that are `listed`, one by one, may be missing.

    Pictures of a single folder or archive are called by their paths within it, else these follow
    the path that was given. `out` will be written: in folders it is no picture.

    Raises `PictureError` with all paths that are not there, and `ConfigError` where `out` would
    take the place of a picture.
    """
    if missing := [path for path in paths if not Path(path).exists()]:
        problems = [f"{show_name(path)}: there is no such file or folder" for path in missing]
        raise PictureError("pictures", problems)
    if out is not None:
        refuse_input(out, [*paths, *listed])
    alone = len(paths) == 1 and not listed
    sources: list[Source] = []
    for path in paths:
        if Path(path).is_dir():
            prefix = "" if alone else f"{path.rstrip('/')}/"
            for name in _list_folder(path, out):
                sources.append(_open_file(prefix + name, Path(path, name), False))
        else:
            sources.append(_open_file(path, Path(path), alone))
    return sources + [_open_file(path, Path(path), False) for path in listed]


def refuse_input(out: Path, inputs: Iterable[str | Path]) -> None:
    """Raises `ConfigError` where `out` would take the place of one of them."""
    place = os.path.realpath(out)
    if any("\0" not in str(path) and os.path.realpath(path) == place for path in inputs):
        raise _name_another(out)


def _name_another(out: Path) -> ConfigError:
    return ConfigError("--out", [f"{out} is to be read: name another file"])


def _list_folder(path: str, out: Path | None) -> list[str]:
    """Names of the files below a folder, but for `out`, in their order."""
    skipped = Skipped()
    names = sorted(name for name, _ in walk_files(Path(path), "", skipped))
    if skipped.links:
        _log.warning(
            "%s: links to folders are not followed: %s, such as %s; name such a folder itself",
            show_name(path), f"{len(skipped.links):,}", show_name(min(skipped.links)),
        )  # fmt: skip
    if out is not None:
        own = os.path.relpath(os.path.realpath(out), os.path.realpath(path))
        if own in names and own.lower().endswith((*MEDIA_ENDINGS, *TAR_ENDINGS, PARQUET)):
            raise _name_another(out)
        names = [name for name in names if name != own]
    return names


def list_pictures(sources: Sequence[Source]) -> Iterator[GivenPicture]:
    """Of all sources, one after the other."""
    for source in sources:
        yield from source.open()


def _open_file(name: str, path: Path, alone: bool) -> Source:
    name = spell_name(name)
    ending, prefix = name.lower(), "" if alone else f"{name}/"
    if ending.endswith(TAR_ENDINGS):
        return TarSource(path, prefix)
    if ending.endswith(PARQUET):
        return ParquetSource(path, prefix)
    if is_video(name):
        return VideoSource(path, name)
    return FileSource(name, path)
