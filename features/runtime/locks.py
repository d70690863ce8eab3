"""Who may write: one process at a time holds a folder, or only the newest run gives files names.

    with hold(out, resume_dir):  # a long run, which is refused where another one works
    with claim(out, resume_dir):  # a short one, which takes over from any other

The first is for runs that can be gone on with, the second for those that begin anew: a run that was
left behind by a killed DVC can then neither stand in the way nor overwrite what a newer one wrote.
"""

import errno
import functools
import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from features.core.files import digest_bytes, guard_names, name_place
from features.errors import LockedError, SupersededError
from features.runtime.terminal import log

_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
"""What NFS and Lustre answer where they were mounted without locks."""


@contextmanager
def hold(folder: Path, resume_dir: Path) -> Iterator[None]:
    """Keeps `folder`, a run's results, for this process; the system lets go when it ends.

    Raises `LockedError`, which names the process that has it.
    """
    path = _name_file(folder, resume_dir, "lock")
    owner = path.with_suffix(".pid")
    try:
        lock = _acquire(path, timeout=0)
    except Timeout:
        pid = owner.read_text() if owner.is_file() else "unknown"
        raise LockedError(folder, pid.strip()) from None
    try:
        with name_place(owner):
            owner.write_text(f"{os.getpid()}\n")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


@contextmanager
def claim(folder: Path, resume_dir: Path) -> Iterator[None]:
    """Makes this run the newest one for `folder`: older ones can publish no file any more.

    Within, `write_atomic` raises `SupersededError` once a newer run has claimed the folder.
    """
    newest, lock_path = (_name_file(folder, resume_dir, kind) for kind in ("newest", "names"))
    run = uuid.uuid4().hex

    @contextmanager
    def guard() -> Iterator[None]:
        lock = _acquire(lock_path)
        try:
            if newest.is_file() and newest.read_text(encoding="utf-8") != run:
                raise SupersededError(folder)
            yield
        finally:
            lock.release()

    lock = _acquire(lock_path)
    try:
        with name_place(newest):
            newest.write_text(run, encoding="utf-8")
    finally:
        lock.release()
    with guard_names(guard):
        yield


def _name_file(folder: Path, resume_dir: Path, kind: str) -> Path:
    resume_dir.mkdir(parents=True, exist_ok=True)
    return resume_dir / f"{digest_bytes(os.fsencode(folder.resolve()))[:16]}.{kind}"


def _acquire(path: Path, timeout: float = -1) -> BaseFileLock:
    """A lock that is held. Raises `Timeout`.

    Where the file system knows none, it is a file that names its owner, in the machine's folder for
    temporary files.
    """
    lock: BaseFileLock = FileLock(path)
    try:
        lock.acquire(timeout=timeout)
    except (OSError, NotImplementedError) as error:
        if isinstance(error, Timeout) or getattr(error, "errno", errno.ENOSYS) not in _NO_LOCKS:
            raise
        _warn(path.parent)
        place = digest_bytes(os.fsencode(path.resolve()))[:16]
        lock = SoftFileLock(Path(tempfile.gettempdir()) / f"forgerystack-{place}.lock")
        lock.acquire(timeout=timeout)
    return lock


@functools.cache
def _warn(folder: Path) -> None:
    log.warning("%s: its file system has no locks, so runs on other machines go unseen", folder)
