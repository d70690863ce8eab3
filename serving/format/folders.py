"""A folder that appears whole."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from features.errors import BundleError, ConfigError
from serving.format.files import MANIFEST

LOCKS = Path(tempfile.gettempdir()) / f"forgerystack-{os.getuid()}"
"""Of this user on this machine: bundles may lie where nothing can be written."""


def check_file_name(path: Path) -> None:
    """Raises `ConfigError` where no file can get this name: said before the work, not after it."""
    if path.is_dir():
        raise ConfigError("--out", [f"{path} is a folder: name a file in it"])
    if path.exists() and not path.is_file():
        raise ConfigError("--out", [f"{path} is a device or a pipe: name a file"])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except FileNotFoundError:  # folders of the system itself, such as /proc
        raise ConfigError("--out", [f"no file can be made in {path.parent}"]) from None


@contextmanager
def write_folder(folder: Path) -> Iterator[Path]:
    """Yields an empty folder beside `folder`, which gets its name if nothing is raised.

    A bundle that is there is replaced; raises `BundleError` for anything else.
    """
    if folder.exists() and not (folder / MANIFEST).is_file() and any(folder.iterdir()):
        raise BundleError(str(folder), ["it is there, and no bundle: name another folder with -o"])
    folder.parent.mkdir(parents=True, exist_ok=True)
    new, old = (folder.with_name(f".{folder.name}.{word}-{os.getpid()}") for word in ("new", "old"))
    _sweep(folder)
    new.mkdir()
    try:
        yield new
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(old, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Removes what processes that were killed have left."""
    for left in folder.parent.glob(f".{folder.name}.new-*"):
        try:
            os.kill(int(left.name.rpartition("-")[2]), 0)
        except ProcessLookupError:
            shutil.rmtree(left, ignore_errors=True)
        except (OSError, ValueError):
            continue
