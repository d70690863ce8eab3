"""sha256 of many files, without reading those again that nobody has written since.

with keep_contents(Path(".store/contents.json")) as contents:
    contents.digest(paths)
"""

import json
import os
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from features.core.files import digest_file, write_text
from features.runtime.progress import show_progress

CHUNK = 256
"""Files that are read before it is looked whether to stop."""
Entry = tuple[int, int, str]
"""Bytes, time of writing in ns, and sha256 of a file."""


class KnownContents:
    """What files hold, by their path; one of the same size and time holds what it held."""

    def __init__(self, known: dict[str, Entry]) -> None:
        self._known = known
        self.asked: dict[str, Entry] = {}
        """Of all that was asked for and could be read."""

    def digest(self, paths: Sequence[str], noun: str = "pictures") -> list[str]:
        """sha256 of each; empty for what is no file, or cannot be read."""
        stale = [path for path in paths if not self._recall(path)]
        with (
            show_progress(f"read what {noun} hold", len(stale), noun) as meter,
            ThreadPoolExecutor() as threads,
        ):
            for start in range(0, len(stale), CHUNK):
                chunk = stale[start : start + CHUNK]
                for path, entry in zip(chunk, threads.map(_read, chunk), strict=True):
                    if entry:
                        self.asked[path] = entry
                meter.advance(len(chunk))
        return [self.asked.get(path, (0, 0, ""))[2] for path in paths]

    def _recall(self, path: str) -> bool:
        """Whether nobody has written the file since it was read."""
        entry = self._known.get(path)
        if entry is None or _read_state(path) != (*entry[:2],):
            return False
        self.asked[path] = entry
        return True


@contextmanager
def keep_contents(path: Path) -> Iterator[KnownContents]:
    """What the file `path` knows; afterwards it knows what was asked for.

    Cut off, it also keeps what it knew: others may have been asked for later.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        known = {name: (int(e[0]), int(e[1]), str(e[2])) for name, e in values.items()}
    except (OSError, ValueError, AttributeError, TypeError, LookupError):
        known = {}  # none yet, or a damaged one: all is read
    contents = KnownContents(known)
    kept = contents.asked
    try:
        yield contents
    except BaseException:
        kept = known | contents.asked
        raise
    finally:
        if kept != known:
            write_text(path, json.dumps(kept))  # ASCII: names may be no valid UTF-8


def _read(path: str) -> Entry | None:
    try:
        state = _read_state(path)  # before: what is written meanwhile has another time
        return (*state, digest_file(Path(path))) if state else None
    except OSError:
        return None


def _read_state(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:  # a link to nothing
        return None
    return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None
