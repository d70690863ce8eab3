"""What lies in a folder: its files, without what systems and tools leave there unasked."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from features.core.trusted import leads_into
from features.errors import ManifestError
from features.settings.data import Data, RoleFiles

LITTER = {
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "$recycle.bin"),
    *("system volume information", "lost+found", "__macosx", "__pycache__"),
    *("@eadir", "@tmp", "#recycle", "#snapshot", "@recycle", "@recently-snapshot"),
}
"""What systems, network disks and tools leave in folders, besides hidden files, in lower case."""


@dataclass
class Skipped:
    """What was found and is no row; so are links to folders that lead into no `trusted` one."""

    trusted: tuple[str, ...] = ()
    elsewhere: frozenset[str] = frozenset()
    """Paths of folders that are of another role."""
    litter: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)

    def list_notes(self) -> list[str]:
        """One line for each kind, for people."""
        notes = []
        for names, text in (
            (self.litter, "skipped as hidden, or left there by a system"),
            (self.links, "links to folders, not followed without data.trusted"),
            (self.beside, "files beside class folders, no pictures by their endings, left out"),
        ):
            if names:
                notes.append(f"{text}: {len(names)}, such as {min(names)!r}")
        return notes


def walk_files(
    folder: Path, prefix: str, skipped: Skipped
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Files below `folder`/`prefix`, in any order, with their paths relative to `folder`.

    A folder that several links lead to is there below each of them, since a list may name its files
    by any; but on one path it is once, so that the walk ends where folders link to one another.
    """
    waiting: list[tuple[str, tuple[str, ...]]] = [(prefix, ())]
    while waiting:
        prefix, passed = waiting.pop()
        for entry in scan_folder(folder, prefix, skipped):
            if is_entered(entry, skipped.trusted, passed):
                own = (os.path.dirname(entry.path),) if entry.is_symlink() else ()
                waiting.append((f"{prefix}{entry.name}/", (*passed, *own)))
            elif is_folder_link(entry):
                skipped.links.append(prefix + entry.name)
            else:
                yield prefix + entry.name, entry


def is_entered(entry: os.DirEntry[str], trusted: Sequence[str], passed: Sequence[str] = ()) -> bool:
    """Whether this is a folder, or a link to one in a trusted place that does not hold the link.

    Nor may it hold any of the folders `passed`, of the links on the way.
    """
    if entry.is_dir(follow_symlinks=False):
        return True
    if not trusted or not is_folder_link(entry):
        return False
    target = [os.path.realpath(entry.path)]
    is_circle = any(leads_into(place, target) for place in (os.path.dirname(entry.path), *passed))
    return leads_into(entry.path, trusted) and not is_circle


def is_folder_link(entry: os.DirEntry[str]) -> bool:
    """Whether this is a link to a folder; one that leads to itself is none."""
    return entry.is_symlink() and is_folder(entry)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether this is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # links that lead to one another
        return False


def scan_folder(folder: Path, prefix: str, skipped: Skipped) -> list[os.DirEntry[str]]:
    """What is in `folder`/`prefix`, but for hidden files and litter.

    Raises `ManifestError` if it cannot be listed.
    """
    place = folder / prefix
    try:
        with os.scandir(place) as entries:
            found = list(entries)
    except OSError as error:
        problem = f"cannot be listed: {error.strerror}"
        raise ManifestError(str(place), [problem], "data.root or a folder below it?") from error
    found = [e for e in found if prefix + e.name not in skipped.elsewhere]
    litter = [e.name for e in found if e.name[0] == "." or e.name.lower() in LITTER]
    skipped.litter += [prefix + name for name in litter]
    return [e for e in found if e.name not in litter] if litter else found


def find_elsewhere(data: Data, role: str) -> frozenset[str]:
    """Folders of images of other roles, relative to that of `role`, where they lie in it."""
    own, others = getattr(data, role), (getattr(data, r) for r in {"train", "val", "test"} - {role})
    places = [os.path.relpath(f.images, own.images) for f in others if f and f.images]
    return frozenset(place for place in places if place.split(os.sep)[0] not in (".", ".."))


def split_by_list(data: Data, role: str) -> list[Data]:
    """`data`, or where `labels` of the role holds a `*`, one for each list that it stands for.

    In order of names; a `*` of `images` becomes what that of `labels` stood for. Raises
    `ManifestError` where no list is called so.
    """
    files: RoleFiles = getattr(data, role)
    if files.labels is None or "*" not in files.labels:
        return [data]
    above, _, below = files.labels.partition("*")
    folder, _, begin = above.rpartition("/")
    end = below.partition("/")[0]
    found = []
    for name in sorted(entry.name for entry in scan_folder(Path(data.root), folder, Skipped())):
        if not name.startswith(begin) or not name[len(begin) :].endswith(end):
            continue
        star = name[len(begin) : len(name) - len(end)]
        one = {key: text and text.replace("*", star) for key, text in files.model_dump().items()}
        if (Path(data.root) / one["labels"]).is_file():
            found.append(data.model_copy(update={role: RoleFiles(**one)}))
    if not found:
        raise ManifestError(f"data.{role}.labels", [f"no list is called {files.labels}"])
    return found
