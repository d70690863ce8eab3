"""What the system refuses, in words: a full disk, no permission, no memory, no more processes.

told = explain(OSError(errno.ENOSPC, "No space left on device", "artifacts/metrics.json"))
"""

import errno
import os
import re
import sqlite3

_KEPT = "What was finished is kept."
_FULL = (
    f"{_KEPT} Free some space and run it again. Decoded images are the largest part: "
    "images.store none does without them, images.store_dir puts them on another disk"
)
_DENIED = (
    "Look at who owns it and who may write (ls -ld), and run this as that user, or have it "
    "changed (chown, chmod)"
)
_READ_ONLY = "Results are written into the project's folder: copy it to where you may write"
_OPEN_FILES = f"{_KEPT} Allow more open files and run it again: ulimit -n 65536"
_NO_FOLDER = "Name another place, or move what is there"
_BROKEN = f"{_KEPT} Look at the disk and its connection (dmesg), then run it again"
MEMORY = (
    f"{_KEPT} Close other programs or take a larger machine. Less memory is used with fewer "
    "processes (LOKY_MAX_CPU_COUNT=2), smaller batches (schedule.batch_size) and a lower "
    "data.max_pixels"
)
PROCESSES = f"{_KEPT} Allow more processes (ulimit -u), or use fewer: LOKY_MAX_CPU_COUNT=2"

ADVICE = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: f"{_KEPT} A file may not grow so large here: look at `ulimit -f`, and whether "
    "the file system takes large files (FAT ends at 4 GB)",
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EROFS: _READ_ONLY,
    errno.EMFILE: _OPEN_FILES,
    errno.ENFILE: _OPEN_FILES,
    errno.ENOMEM: MEMORY,
    errno.EAGAIN: PROCESSES,
    errno.EEXIST: _NO_FOLDER,
    errno.ENOTDIR: _NO_FOLDER,
    errno.EISDIR: _NO_FOLDER,
    errno.ENAMETOOLONG: "Choose a shorter name or folder",
    errno.ELOOP: "Its links lead in a circle: remove them",
    errno.EIO: _BROKEN,
    errno.ESTALE: _BROKEN,
    errno.ETIMEDOUT: _BROKEN,
    errno.EHOSTDOWN: _BROKEN,
    errno.ETXTBSY: "Another program runs it: wait until that has ended",
}
"""What to do, by the number of the error. Other numbers are bugs, and keep their traceback."""
_IN_TEXT = re.compile(r"\[?\b(?:os error|errno):? (\d+)\b", re.IGNORECASE)
_SQLITE = {
    "database or disk is full": errno.ENOSPC,
    "disk i/o error": errno.EIO,
    "attempt to write a readonly database": errno.EROFS,
    "unable to open database file": errno.EACCES,
}


def explain(error: BaseException) -> str | None:
    """One message: what was refused, where, and what to do; `None` for an error of another kind.

    The error may be of a library that passes on the system's in its own words (pyarrow,
    safetensors, SQLite, LightGBM), or carry it as its cause.
    """
    if isinstance(error, MemoryError):
        return f"The machine has too little memory. {MEMORY}"
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return f"The system starts no more threads. {PROCESSES}"
    number = _find_number(error)
    if number in ADVICE:
        return f"{os.strerror(number)}{_name_place(error)}. {ADVICE[number]}"
    cause = error.__cause__
    return explain(cause) if isinstance(cause, OSError | MemoryError | sqlite3.Error) else None


def _find_number(error: BaseException) -> int:
    """The system's number of an error; 0 if it has none."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    if isinstance(error, sqlite3.Error):
        return _SQLITE.get(str(error).lower(), 0)
    told = _IN_TEXT.search(str(error))
    return int(told[1]) if told else 0


def _name_place(error: BaseException) -> str:
    """` (artifacts/metrics.json)`, where the error says it."""
    names = [getattr(error, name, None) for name in ("filename", "filename2")]
    places = [os.fsdecode(n) for n in names if isinstance(n, str | bytes | os.PathLike) and n]
    return f" ({' → '.join(places)})" if places else ""
