"""A folder that appears whole."""

import glob
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from features.errors import BundleError, ConfigError
from serving.format.files import MANIFEST


def open_locks() -> Path:
    """A folder of this user alone on this machine: bundles may lie where nothing can be written.

    Raises `ConfigError` where anybody else has made it: its files would be theirs.
    """
    folder = Path(tempfile.gettempdir()) / f"forgerystack-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        problem = f"{folder} is a link, no folder, or another user's"
        raise ConfigError("locks", [problem], "Name another folder for them: TMPDIR=FOLDER")
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)
    return folder


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
    _sweep(folder)
    if folder.exists() and not (folder / MANIFEST).is_file() and any(folder.iterdir()):
        raise BundleError(str(folder), ["it is there, and no bundle: name another folder with -o"])
    folder.parent.mkdir(parents=True, exist_ok=True)
    new, old = (folder.with_name(f".{folder.name}.{word}-{os.getpid()}") for word in ("new", "old"))
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
    """Removes what processes that were killed have left; a bundle that one of them had set aside
    gets its name back, where nothing has taken it."""
    name = glob.escape(folder.name)
    for left in (*folder.parent.glob(f".{name}.new-*"), *folder.parent.glob(f".{name}.old-*")):
        try:
            os.kill(int(left.name.rpartition("-")[2]), 0)
        except ProcessLookupError:
            if left.name.startswith(f".{folder.name}.old-") and not folder.exists():
                left.rename(folder)
            else:
                shutil.rmtree(left, ignore_errors=True)
        except (OSError, ValueError):
            continue
