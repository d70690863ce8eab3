"""Where pictures come from: files, folders, lists, tar archives, Parquet tables, videos.

sources = open_sources(["holiday", "shard-0.tar"])
for picture in list_pictures(sources): ...
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from features.errors import PictureError
from features.lists.folders import Skipped, walk_files
from features.shards.names import PARQUET
from features.videos.frames import is_video
from serving.reading.archives import TAR_ENDINGS, TarSource
from serving.reading.pictures import GivenPicture, read_file, tell_file
from serving.reading.tables import ParquetSource
from serving.reading.texts import spell_name
from serving.reading.videos import VideoSource


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


def open_sources(paths: Sequence[str], listed: Sequence[str] = ()) -> list[Source]:
    """`paths` are files and folders; those that are `listed`, one by one, may be missing.

    Pictures of a single folder or archive are called by their paths within it, else these follow
    the path that was given. Raises `PictureError` with all paths that are not there.
    """
    if missing := [f"{path}: there is no such file or folder" for path in paths if not _is(path)]:
        raise PictureError("pictures", missing)
    alone = len(paths) == 1 and not listed
    sources: list[Source] = []
    for path in paths:
        if Path(path).is_dir():
            found = sorted(name for name, _ in walk_files(Path(path), "", Skipped()))
            prefix = "" if alone else f"{path.rstrip('/')}/"
            sources += [_open_file(prefix + name, Path(path, name), False) for name in found]
        else:
            sources.append(_open_file(path, Path(path), alone))
    return sources + [_open_file(path, Path(path), False) for path in listed]


def list_pictures(sources: Sequence[Source]) -> Iterator[GivenPicture]:
    """Of all sources, one after the other."""
    for source in sources:
        yield from source.open()


def _is(path: str) -> bool:
    return Path(path).exists()


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
