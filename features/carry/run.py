"""What `python -m features.carry` does."""

import logging
import shlex
from collections.abc import Sequence
from pathlib import Path

from features.carry.archive import Listing, extract_contents, read_listing, write_carry
from features.carry.contents import (
    CACHE,
    FILES,
    FOLDERS,
    RESUME,
    check_idle,
    choose_contents,
    find_problem,
    list_changed_code,
)
from features.carry.unpacking import (
    check_listing,
    check_replaced,
    check_space,
    open_staging,
    place_files,
    plan_changes,
)
from features.errors import SHOWN, CarryError, IntegrityError
from features.runtime.costs import FOLDER as SECONDS

_log = logging.getLogger("forgerystack")


def pack_project(target: Path, replace: bool = False) -> Listing:
    """Packs the project in the working folder into `target`, whole or not at all.

    A file that is no carry file, or holds what would be lost, is replaced only if `replace` is set.
    Raises `LockedError` while something is trained, `ConfigError`, `CarryError`.
    """
    check_idle()
    check_target(target)
    contents = choose_contents()
    if not replace:
        check_kept(target, contents.paths)
    if odd := [problem for path in contents.paths if (problem := find_problem(path))]:
        raise CarryError(str(target), odd, "Give them other names, then pack again.")
    listing = write_carry(target, contents.paths, contents.folders)
    for line in describe_listing(listing):
        _log.info(line)
    if contents.missing:
        lacking = ", ".join(contents.missing)
        _log.warning("not in DVC's cache, so their stages run again: %s", lacking)
    _log.info("never packed: decoded images (made again), data other than data/demo")
    _log.info("%s: %s. In a fresh clone:", target, format_size(target.stat().st_size))
    _log.info("    make carry IN=%s", shlex.quote(target.name))
    _log.info("    dvc repro")
    return listing


def unpack_project(source: Path, replace: bool = False) -> None:
    """Unpacks `source` into the project in the working folder.

    Nothing is touched before all of it is checked. Where files have other content `CarryError` is
    raised, unless `replace` is set or git holds that content. Raises `IntegrityError` and
    `LockedError` too.
    """
    listing = read_listing(source)
    check_listing(source, listing)
    check_idle()
    changes = plan_changes(listing)
    if not replace:
        check_replaced(source, changes)
    check_space(source, changes.wanted.values())
    with open_staging() as staging:
        wanted = {facts.sha256 for facts in changes.wanted.values()}
        extract_contents(source, listing, wanted, staging)
        for stray in changes.strays:
            Path(stray).unlink()
        place_files(staging, changes.wanted)
    for name, paths in (("replaced", changes.replaced), ("removed", changes.strays)):
        if paths:
            _log.info("%s: %s", name, shorten(paths))
    there = len(listing.files) - len(changes.wanted)
    _log.info("%s: %d files unpacked, %d were there already", source, len(changes.wanted), there)
    if changed := list_changed_code():
        _log.warning(
            "code here is not what made the results: %s. These stages run again, and stopped "
            "trainings start anew: %s",
            shorten(sorted({path for paths in changed.values() for path in paths})),
            shorten(list(changed)),
        )
    _log.info("go on: dvc repro")


def check_target(target: Path) -> None:
    """Raises `CarryError` where `target` would be packed itself, or is another kind of file."""
    place = target.resolve()
    for folder in (*FOLDERS, Path(".dvc")):
        if folder.resolve() in (place, *place.parents):
            raise CarryError(str(target), [f"it would lie in {folder}, which is packed"])
    if target.is_dir():
        raise CarryError(str(target), ["it is a folder"], "Name a file, such as carry.tar")


def check_kept(target: Path, paths: Sequence[str]) -> None:
    """Raises `CarryError` where packing `paths` would lose what `target` holds."""
    if not target.exists():
        return
    advice = "Name another file, or replace it all the same: REPLACE=1 (--replace)"
    try:
        there = read_listing(target).files
    except IntegrityError:
        problem = "it exists, and is no whole carry file"
        raise CarryError(str(target), [problem], advice) from None
    # States of trainings and objects of the cache are superseded as the work goes on.
    passing = tuple(f"{folder.as_posix()}/" for folder in (CACHE, RESUME, SECONDS))
    lost = sorted(path for path in {*there} - {*paths} if not path.startswith(passing))
    states = [path for path in there if path.startswith(f"{RESUME}/")]
    if not {*paths} - {*there}:  # nothing was done since, so what is gone was not finished
        lost += states if not any(path.startswith(f"{RESUME}/") for path in paths) else []
    if lost:
        more = f"it holds {len(lost):,} files that are not here: {shorten(lost)}"
        raise CarryError(str(target), [more], advice)


def describe_listing(listing: Listing) -> list[str]:
    """Files and bytes of each part of a carry file, one line each."""
    stored = listing.list_stored()
    lines = []
    for part in (*FOLDERS, *FILES):
        paths = [path for path in listing.files if part in (Path(path), *Path(path).parents)]
        own = [path for path in paths if path in stored]
        size = format_size(sum(stored[path].size for path in own))
        line = f"  {part.as_posix():<22}{len(paths):>8,} files {size:>12}"
        again = len(paths) - len(own)
        lines.append(f"{line}, {again:,} with a content that is packed already" if again else line)
    return lines


def format_size(size: int) -> str:
    """`0.3 MB`, `1,204.0 MB`."""
    return f"{size / 1e6:,.1f} MB"


def shorten(names: Sequence[str]) -> str:
    """The first ten names, and how many more there are."""
    more = f" … and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
