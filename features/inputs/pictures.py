"""What is cheap to know of many pictures: by it a run notices that they are others now."""

import os
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from features.lists.folders import is_entered

ALL = 100_000
"""Pictures whose sizes and times are all noted: half a second on a local disk."""
SAMPLED = 10_000
"""Of more pictures so many, always the same ones, and the times of all folders."""


def describe_pictures(folder: Path, trusted: tuple[str, ...] = ()) -> dict[str, Any]:
    """How many files lie below `folder`, and digests of their names, sizes and times of writing.

    Nothing is opened. Hidden files and folders are left out, links to folders lead into `trusted`
    ones.
    """
    names, folders = [], []
    for place, entries in _walk(folder, trusted):
        folders.append(place)
        names += [os.path.join(place, entry.name) for entry in entries]
    names.sort()
    if len(names) > ALL:
        chosen = np.random.default_rng(0).choice(len(names), SAMPLED, replace=False)
        looked_at = [*(names[i] for i in np.sort(chosen)), *sorted(folders)]
    else:
        looked_at = names
    states = [(name, *_read_state(folder / name)) for name in looked_at]
    return {
        "files": len(names),
        "names": _digest(names),
        "sizes": _digest([f"{name}\0{size}" for name, size, _ in states]),
        "times": _digest([f"{name}\0{time}" for name, _, time in states]),
    }


def find_change(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """In words what `describe_pictures` sees now and did not see before; empty if nothing."""
    if before["files"] != after["files"]:
        return f"{after['files']:,} pictures instead of {before['files']:,}"
    for key, text in (("names", "other names"), ("sizes", "other sizes")):
        if before[key] != after[key]:
            return f"pictures of {text}"
    return "pictures written anew" if before["times"] != after["times"] else ""


def _walk(folder: Path, trusted: tuple[str, ...]) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
    """Each folder, relative to `folder`, with its files."""
    waiting = [""]
    while waiting:
        place, files = waiting.pop(), []
        with os.scandir(folder / place) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if is_entered(entry, trusted):
                    waiting.append(os.path.join(place, entry.name))
                else:
                    files.append(entry)
        yield place, files


def _read_state(path: Path) -> tuple[int, int]:
    try:
        state = os.stat(path)
    except OSError:  # a link to nothing
        return -1, -1
    return state.st_size, state.st_mtime_ns


def _digest(lines: list[str]) -> str:
    content = sha256()
    for line in lines:
        content.update(f"{line}\n".encode(errors="surrogateescape"))
    return content.hexdigest()
