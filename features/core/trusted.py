"""Folders outside the data root that links may lead into: those of `data.trusted`, and DVC's cache.

leads_into("trainset/real", find_trusted(["/mnt/photos"]))
"""

import configparser
import os
from collections.abc import Sequence
from pathlib import Path

DVC = Path(".dvc")
"""Folder of DVC in the project."""
ANYWHERE = (os.sep,)
"""For files whose sha256 is compared with that in the manifest: where they lead was looked at by
`prepare`."""


def find_trusted(listed: Sequence[str]) -> tuple[str, ...]:
    """The `listed` folders without any link, and the cache of DVC if this is a project of it.

    With `cache.type symlink` all that DVC lays out are links into its cache.
    """
    own = [str(_find_cache())] if DVC.is_dir() else []
    return tuple(os.path.realpath(folder) for folder in [*listed, *own])


def leads_into(place: str | os.PathLike[str], folders: Sequence[str]) -> bool:
    """Whether `place`, with all links followed, is one of `folders` or lies below it."""
    full = os.path.realpath(place)
    return any(os.path.commonpath([full, folder]) == folder for folder in folders)


def _find_cache() -> Path:
    """That of `dvc cache dir`, as the project's own files of settings have it."""
    config = configparser.ConfigParser(strict=False, interpolation=None)
    try:
        config.read([DVC / "config", DVC / "config.local"], encoding="utf-8")
    except (configparser.Error, OSError, UnicodeDecodeError):
        return DVC / "cache"
    return DVC / os.path.expanduser(config.get("cache", "dir", fallback="cache"))
