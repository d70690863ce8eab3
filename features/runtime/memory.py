"""How much memory there is, and whose turn it is to take much of it."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from filelock import FileLock
from joblib import cpu_count

WORKER = 512 << 20
"""Bytes for a process that decodes: what it loads, and usual pictures."""
_GROUPS = {
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""Files of a control group, version 2 and 1, and the part of its use that can be dropped."""


def measure_free_memory(root: Path = Path("/")) -> int:
    """Bytes that can be taken: of the machine, and of each control group around this process."""
    facts = _read_facts(root / "proc/meminfo")
    free = [facts["MemAvailable:"] << 10] if "MemAvailable:" in facts else []
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        groups = []
    for _, controllers, path in (line.split(":", 2) for line in groups):
        kind = "memory" if "memory" in controllers.split(",") else controllers
        if kind in _GROUPS:
            inner = PurePosixPath(path.lstrip("/"))
            folders = [root / "sys/fs/cgroup" / kind / part for part in (inner, *inner.parents)]
            free += [
                left for folder in folders if (left := _measure_group(folder, kind)) is not None
            ]
    return max(0, min(free, default=WORKER))


def _measure_group(folder: Path, kind: str) -> int | None:
    limit, usage, cache = _GROUPS[kind]
    try:
        most, used = (folder / limit).read_text().strip(), int((folder / usage).read_text())
    except (OSError, ValueError):  # inside a container the outer groups are not shown
        return None
    if not most.isdecimal():  # "max"
        return None
    return int(most) - used + _read_facts(folder / "memory.stat").get(cache, 0)


def _read_facts(path: Path) -> dict[str, int]:
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {line[0]: int(line[1]) for line in lines if len(line) > 1 and line[1].isdecimal()}


@functools.cache
def count_workers() -> int:
    """How many threads or processes may decode at once: one a core, fewer where memory is short."""
    return int(max(1, min(cpu_count(), measure_free_memory() // WORKER)))


@functools.cache
def measure_worker_memory() -> int:
    """Bytes that a worker may take without asking; as many again are for large pictures."""
    return measure_free_memory() // (count_workers() + 1)


@contextmanager
def take_turn(needed: int, lock: Path) -> Iterator[None]:
    """Waits, where more is needed than a worker has, for all others of this machine that do so."""
    if needed <= measure_worker_memory():
        yield
        return
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        yield
