"""One process at a time: a run holds the folder of its results."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from features.core.files import digest_bytes
from features.errors import LockedError


@contextmanager
def hold(folder: Path, resume_dir: Path) -> Iterator[None]:
    """Keeps `folder`, a run's results, for this process; the system lets go when it ends.

    Raises `LockedError`, which names the process that has it.
    """
    place = digest_bytes(os.fsencode(folder.resolve()))[:16]
    path = resume_dir / f"{place}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock, owner = FileLock(path), path.with_suffix(".pid")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        pid = owner.read_text() if owner.is_file() else "unknown"
        raise LockedError(folder, pid.strip()) from None
    try:
        owner.write_text(f"{os.getpid()}\n")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()
