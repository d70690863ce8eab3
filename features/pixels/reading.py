"""Content of files: only regular files inside the data root or a trusted folder are opened."""

import functools
import os
import stat
from pathlib import Path

from features.core.trusted import leads_into
from features.errors import ImageProblem

OUTSIDE = "a link leads outside the data root, and into no folder of data.trusted"


def read_inside(root: Path, path: str, trusted: tuple[str, ...] = ()) -> bytearray:
    """The file's content; raises `ImageProblem` for what is no regular file inside `root`.

    Links are followed as long as they stay inside or lead into a folder of `trusted`, as
    `find_trusted` gives them; nothing else than a regular file is opened.
    """
    folder, name = os.path.split(path)
    try:
        place = os.path.join(_resolve_folder(root, folder, trusted), name)
        if stat.S_ISLNK(os.lstat(place).st_mode):
            place = _resolve_inside(root, path, trusted)
        if not stat.S_ISREG(os.lstat(place).st_mode):
            raise ImageProblem("no regular file")
        # Both flags matter only if somebody swaps the file right now.
        with open(os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            content = bytearray(os.fstat(file.fileno()).st_size)
            size = file.readinto(content)
    except FileNotFoundError:
        raise ImageProblem("missing") from None
    except OSError as error:
        raise ImageProblem(f"cannot be read: {error.strerror}") from error
    if not content:
        raise ImageProblem("empty file")
    if size != len(content):
        raise ImageProblem("it changed while it was read")
    return content


@functools.lru_cache(maxsize=4096)  # half a million files lie in a few folders
def _resolve_folder(root: Path, folder: str, trusted: tuple[str, ...]) -> str:
    return _resolve_inside(root, folder, trusted)


def _resolve_inside(root: Path, path: str, trusted: tuple[str, ...]) -> str:
    try:
        full = (root / path).resolve()
    except RuntimeError:  # up to Python 3.12
        raise ImageProblem("a link leads to itself") from None
    if not full.is_relative_to(root.resolve()) and not leads_into(full, trusted):
        raise ImageProblem(OUTSIDE)
    return str(full)
