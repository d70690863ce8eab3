"""Rows of a role that has no list: a folder of images for each class, or of images to label."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from features.core.manifest import NO_LABEL, Role
from features.errors import ManifestError
from features.prepare.label_file import list_group_keys, read_labels
from features.settings.data import Classes, Data, RoleFiles
from features.settings.sections import suggest_name

LITTER = {"thumbs.db", "desktop.ini", "__macosx"}
"""What systems leave in folders without being asked, besides hidden files."""
GENERATOR = "generator"
"""What `split.hold_out` may name where there are no columns."""
_log = logging.getLogger("forgerystack")


@dataclass
class _Skipped:
    """What was found and is no row."""

    hidden: int = 0
    links: list[str] = field(default_factory=list)


def read_role(
    data: Data, hold_out: Mapping[str, Sequence[str]], role: Role
) -> tuple[pd.DataFrame, int]:
    """Rows of a role from its list, or from its folders where `labels` is null.

    Columns as `features.prepare.label_file.read_labels` gives them, `hold:<column>` in train alone;
    and the number of repeated lines that were dropped. Raises `ManifestError` with all problems.
    """
    files: RoleFiles = getattr(data, role)
    columns = tuple(hold_out) if role == "train" else ()
    if files.labels is not None:
        return read_labels(data, files, role != "test", columns)
    return read_folders(data, files, role, columns), 0


def read_folders(
    data: Data, files: RoleFiles, role: Role, hold_out: Sequence[str] = ()
) -> pd.DataFrame:
    """One row for each file below `files.images`, sorted by name; `line` is 0.

    The folder below that of its class is a fake's `generator`. Raises `ManifestError` with all
    problems.
    """
    folder, skipped = Path(data.root) / files.images, _Skipped()
    if role == "test":
        names = [name for name, _ in _walk(folder, "", skipped)]
        problems = [] if names else ["there is no file to label"]
    else:
        problems = _check_columns(data, role, hold_out)
        names = _list_classes(folder, data.classes, role, skipped, problems)
    problems += [f"{n!r}: no valid UTF-8, rename it" for n in names if not _is_utf8(n)]
    if problems:
        advice = "Class folders are named by data.classes.real_folders and fake_folders."
        advice = advice if role != "test" else "Without any, set data.test to null."
        raise ManifestError(str(folder), problems, advice)
    _log_skipped(role, skipped)
    names.sort()
    return _build_rows(names, data, files, role, hold_out)


def describe_folder(folder: Path) -> dict[str, Any]:
    """How many files there are below `folder`, and a digest of their names and sizes."""
    content, lines = sha256(), []
    for name, entry in _walk(folder, "", _Skipped()):
        try:
            size = entry.stat().st_size
        except OSError:  # a link to nothing
            size = -1
        lines.append(f"{name}\0{size}\n".encode(errors="surrogateescape"))
    for line in sorted(lines):
        content.update(line)
    return {"files": len(lines), "sha256": content.hexdigest()}


def _walk(folder: Path, prefix: str, skipped: _Skipped) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Files below `folder`, in any order, with their names: `prefix` and the path below it."""
    waiting = [prefix]
    while waiting:
        prefix = waiting.pop()
        for entry in _scan(folder / prefix, skipped):
            if entry.is_dir(follow_symlinks=False):
                waiting.append(f"{prefix}{entry.name}/")
            elif entry.is_symlink() and entry.is_dir():
                skipped.links.append(prefix + entry.name)
            else:
                yield prefix + entry.name, entry


def _scan(folder: Path, skipped: _Skipped) -> list[os.DirEntry[str]]:
    """What is in `folder`, but for hidden files and litter."""
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
    except OSError as error:
        problem = f"cannot be listed: {error.strerror}"
        raise ManifestError(str(folder), [problem], "data.root or a folder below it?") from error
    shown = [e for e in found if e.name[0] != "." and e.name.lower() not in LITTER]
    skipped.hidden += len(found) - len(shown)
    return shown


def _check_columns(data: Data, role: Role, hold_out: Sequence[str]) -> list[str]:
    problems = []
    if data.group_columns:
        problems.append(f"data.group_columns: no columns, because data.{role}.labels is null")
    if data.columns.unit:
        problems.append(f"data.columns.unit: no columns, because data.{role}.labels is null")
    for column in hold_out:
        if column not in (GENERATOR, data.columns.generator):
            problems.append(f"split.hold_out.{column}: without a list only {GENERATOR} is known")
    return problems


def _list_classes(
    folder: Path, classes: Classes, role: Role, skipped: _Skipped, problems: list[str]
) -> list[str]:
    """Names of all files in class folders; adds whatever is missing or too much to `problems`.

    Train has every folder that is named, val at least one of each class.
    """
    known = list(dict.fromkeys([*classes.real_folders, *classes.fake_folders]))
    entries = sorted(_scan(folder, skipped), key=lambda e: e.name)
    there = {e.name for e in entries if e.is_dir(follow_symlinks=False)}
    for names in (classes.real_folders, classes.fake_folders):
        missing = [name for name in names if name not in there]
        if role == "train" or len(missing) == len(names):
            problems += [f"no folder {name!r}" for name in missing]
    for entry in entries:
        if entry.name in there and entry.name not in known:
            problems.append(f"unknown folder {entry.name!r}{suggest_name(entry.name, known)}")
        elif entry.name not in there and entry.is_dir():
            problems.append(f"{entry.name!r} is a link to a folder; these are not followed")
    beside = [e.name for e in entries if not e.is_dir()]
    if beside:
        problems.append(f"{len(beside)} files beside the class folders, the first is {beside[0]!r}")
    found = []
    for name in known:
        inside = [file for file, _ in _walk(folder, f"{name}/", skipped)] if name in there else []
        if name in there and not inside:
            problems.append(f"folder {name!r} holds no file")
        found += inside
    return found


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _log_skipped(role: Role, skipped: _Skipped) -> None:
    if skipped.hidden:
        _log.info("prepare: %s: %d hidden files and folders skipped", role, skipped.hidden)
    if skipped.links:
        count, first = len(skipped.links), min(skipped.links)
        _log.warning(
            "prepare: %s: %d links to folders not followed, such as %s", role, count, first
        )


def _build_rows(
    names: list[str], data: Data, files: RoleFiles, role: Role, hold_out: Sequence[str]
) -> pd.DataFrame:
    n, prefix = len(names), str(PurePosixPath(files.images) / "-")[:-1]
    labels, generators = np.full(n, NO_LABEL, np.int8), [""] * n
    if role != "test":
        fakes = set(data.classes.fake_folders)
        for i, (place, *below) in enumerate(name.split("/") for name in names):
            labels[i] = place in fakes
            if labels[i] and len(below) > 1:
                generators[i] = below[0]
    made_by = pd.Series(generators, dtype="str")
    columns: dict[str, Any] = {
        "line": np.zeros(n, np.int64),
        "img_name": pd.Series(names, dtype="str"),
        "path": pd.Series([prefix + name for name in names], dtype="str"),
        "label": labels,
        "weight": np.ones(n),
        "draw_weight": np.ones(n),
        "generator": made_by,
        "unit": pd.Series([""] * n, dtype="str"),
        **{key: pd.Series([""] * n, dtype="str") for key in list_group_keys(data)},
        **{f"hold:{column}": made_by for column in hold_out},
    }
    return pd.DataFrame(columns)
