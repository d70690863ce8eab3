"""Unpacking without harm: what would be replaced is known, and fits, before anything is touched."""

import errno
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from features.carry.archive import Facts, Listing
from features.carry.contents import CACHE, FILES, find_problem, list_files
from features.core.files import digest_file, write_atomic
from features.errors import CarryError

STAGING = Path(".dvc/tmp")
"""Where contents wait until all are checked: ignored by git and DVC, on the project's disk."""
BLOCK = 4096
"""Bytes by which a file's place on a disk may exceed its size."""


@dataclass(frozen=True)
class Changes:
    """What unpacking would do to the project in the working folder."""

    wanted: dict[str, Facts]
    """Files that are missing or have other content, by path."""
    replaced: list[str]
    """Those that have other content."""
    strays: list[str]
    """Files that would make a stage run again, because they lie in its folder."""


def check_listing(source: Path, listing: Listing) -> None:
    """Raises `CarryError` if a file would come to lie elsewhere than where it may."""
    paths = [*listing.files, *(f"{folder}/file" for folder in listing.folders)]
    problems = [problem for path in paths if (problem := find_problem(path))]
    parents = {parent.as_posix() for path in listing.files for parent in Path(path).parents}
    problems += [f"{path} is a file and a folder" for path in sorted(parents & {*listing.files})]
    if problems:
        raise CarryError(str(source), problems, "Nothing was unpacked.")


def plan_changes(listing: Listing) -> Changes:
    """Compares every file with what is there; raises `CarryError` if something is in the way."""
    wanted, replaced, blocked = {}, [], []
    for path, facts in listing.files.items():
        target = Path(path)
        if obstacle := _find_obstacle(target):
            blocked.append(f"{obstacle} is in the way of {path}")
        elif not target.is_file():
            wanted[path] = facts
        elif target.stat().st_size != facts.size or digest_file(target) != facts.sha256:
            wanted[path] = facts
            replaced.append(path)
    if blocked:
        raise CarryError("the project", blocked, "Remove it, then unpack again.")
    there = [path.as_posix() for folder in listing.folders for path in list_files(Path(folder))]
    return Changes(wanted, replaced, [path for path in there if path not in listing.files])


def check_replaced(source: Path, changes: Changes) -> None:
    """Raises `CarryError` if something would be lost that git does not hold."""
    names = {file.as_posix() for file in FILES}
    committed = list_committed([path for path in changes.replaced if path in names])
    lost = [path for path in changes.replaced if path not in committed]
    problems = [f"{path} has other content here" for path in lost]
    problems += [
        f"{path} is unknown to it, and lies in a stage's folder" for path in changes.strays
    ]
    if problems:
        advice = "Nothing was changed. Do as the file says all the same: REPLACE=1 (--replace)"
        raise CarryError(str(source), problems, advice)


def list_committed(paths: Sequence[str]) -> list[str]:
    """Those of `paths` that git tracks and calls unmodified; none where there is no git."""

    def succeeds(*command: str) -> bool:
        with suppress(FileNotFoundError):
            return subprocess.run(["git", *command], capture_output=True).returncode == 0
        return False

    return [
        path
        for path in paths
        if succeeds("ls-files", "--error-unmatch", "--", path)
        and succeeds("diff", "--quiet", "HEAD", "--", path)
    ]


def check_space(source: Path, wanted: Iterable[Facts]) -> None:
    """Raises `CarryError` if the project's disk has no room for the `wanted` files."""
    needed = sum(facts.size + BLOCK for facts in wanted)
    free = shutil.disk_usage(".").free
    if needed > free:
        problem = f"it needs {needed / 1e9:.1f} GB of disk, {free / 1e9:.1f} GB are free here"
        raise CarryError(str(source), [problem], f"Nothing was unpacked. Here: {Path.cwd()}")


@contextmanager
def open_staging() -> Iterator[Path]:
    """An empty folder on the project's disk, gone afterwards; also removes what a kill left."""
    sweep_left_overs(STAGING.glob("carry-*"))
    staging = STAGING / f"carry-{os.getpid()}"
    staging.mkdir(parents=True)
    try:
        yield staging
    finally:
        shutil.rmtree(staging)
        with suppress(OSError):  # something else lies there
            STAGING.rmdir()


def sweep_left_overs(paths: Iterable[Path]) -> None:
    """Removes files and folders of processes that are gone; the names end in their ids."""
    for path in paths:
        pid = path.name.rpartition("-")[2]
        if pid.isdigit() and (int(pid) == os.getpid() or not _is_alive(int(pid))):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def place_files(staging: Path, wanted: dict[str, Facts]) -> None:
    """Moves contents from `staging`, where sha256s name them, to where they belong."""
    left = Counter(facts.sha256 for facts in wanted.values())
    for path, facts in wanted.items():
        target, ready = Path(path), staging / facts.sha256
        left[facts.sha256] -= 1
        if left[facts.sha256]:
            ready = Path(shutil.copyfile(ready, staging / "copy"))
        target.parent.mkdir(parents=True, exist_ok=True)
        _move(ready, target)
        if CACHE in target.parents:
            target.chmod(0o444)  # as DVC leaves them; it would digest others at each use


def _move(ready: Path, target: Path) -> None:
    try:
        os.replace(ready, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # A link has put the folder on another disk.
        with write_atomic(target) as file, open(ready, "rb") as content:
            shutil.copyfileobj(content, file)
        ready.unlink()


def _find_obstacle(target: Path) -> str:
    """What stands where `target` or one of its folders should, and is of the other kind."""
    if target.is_dir():
        return f"the folder {target}"
    for parent in target.parents[:-1]:
        if os.path.lexists(parent) and not parent.is_dir():
            return f"the file {parent}"
    return ""


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
