"""Rows of a role that has no list: a folder of images for each class, or of images to label.

Class folders lie in the role's folder, or below others: `real/…` and `fake/GENERATOR/…`, or as in
the test sets of benchmarks `car/0_real/…` and `car/1_fake/…`.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from features.core.manifest import NO_LABEL, Role
from features.core.trusted import find_trusted
from features.errors import ManifestError
from features.lists.advice import write_list
from features.lists.file_names import is_utf8
from features.lists.folders import (
    Skipped,
    find_elsewhere,
    is_entered,
    is_folder_link,
    scan_folder,
    walk_files,
)
from features.lists.label_file import ListedRows, list_group_keys, read_labels
from features.lists.shard_files import find_beside
from features.lists.shards import list_packed, read_packed
from features.settings.data import ClassNames, Data, RoleFiles
from features.settings.sections import suggest_name
from features.shards.names import parse_member

BENCHMARKS = {"0_real": 0, "1_fake": 1, "nature": 0, "ai": 1}
"""Class folders of CNNDetection, UniversalFakeDetect and GenImage."""
DEEPEST = 4
"""Folders down to which class folders are looked for."""
GENERATOR, SOURCE = "generator", "source"
"""What `split.hold_out` may name where there are no columns: what made a fake, and the folder above
class folders, of reals and fakes."""


@dataclass
class _ClassFolders:
    """Where the class folders of a role lie."""

    labels: dict[str, int] = field(default_factory=dict)
    """By path relative to the role's folder."""
    strange: list[str] = field(default_factory=list)
    """Folders that are no class folders and hold none."""
    notes: list[str] = field(default_factory=list)


def read_role(data: Data, hold_out: Mapping[str, Sequence[str]], role: Role) -> ListedRows:
    """Rows of a role from its list, or from its shards or folders where `labels` is null.

    Columns as `features.lists.label_file.read_listed_rows` gives them, `hold:<column>` in train
    alone. Raises `ManifestError` with all problems.
    """
    files: RoleFiles = getattr(data, role)
    columns = tuple(hold_out) if role == "train" else ()
    is_labelled = role != "test"
    packed = list_packed(data, files, is_labelled, columns)
    if files.labels is not None:
        listed = read_labels(data, files, is_labelled, columns, packed)
        return listed if packed else _check_names(listed)
    if packed is not None:
        return read_packed(packed, data, files, is_labelled, columns)
    return _check_names(read_folders(data, files, role, columns))


def _check_names(listed: ListedRows) -> ListedRows:
    """Raises `ManifestError` for files that are called as those in shards are."""
    paths = listed.rows["path"]
    marked = paths[paths.str.contains("&member=", regex=False)]
    if odd := [path for path in marked if parse_member(path)]:
        problems = [f"{path}: files in shards are called so, rename it" for path in odd]
        raise ManifestError("files", problems)
    return listed


def read_folders(
    data: Data, files: RoleFiles, role: Role, hold_out: Sequence[str] = ()
) -> ListedRows:
    """One row for each file below `files.images`, sorted by name; `line` is 0.

    The path above a class folder is the `source` of its files. A fake's `generator` is that path,
    or where there is none the folder below that of its class. Raises `ManifestError` with all
    problems.
    """
    assert files.images is not None
    elsewhere = find_elsewhere(data, role) if role != "test" else frozenset[str]()
    folder = Path(data.root) / files.images
    skipped = Skipped(find_trusted(data.trusted), elsewhere)
    found, problems, advice = _ClassFolders(), list[str](), ""
    if role == "test":
        names = [name for name, _ in walk_files(folder, "", skipped)]
        if not names:
            problems, advice = ["there is no file to label"], "Without any, set data.test to null."
    else:
        found = _find_class_folders(folder, data.classes, skipped, problems)
        names = _list_classes(folder, data.classes, role, found, skipped, problems)
        if problems:
            advice = "Class folders are named by data.classes.real_folders and fake_folders."
        problems = [*_check_columns(data, role, hold_out), *problems]
    problems += [f"{n!r}: no valid UTF-8, rename it" for n in names if not is_utf8(n)]
    if problems:
        raise ManifestError(str(folder), problems, advice)
    names.sort()
    rows = _build_rows(names, found.labels, data, files, role, hold_out)
    return ListedRows(rows, 0, [*found.notes, *skipped.list_notes()])


def _check_columns(data: Data, role: Role, hold_out: Sequence[str]) -> list[str]:
    problems, why = [], f"no columns, because data.{role}.labels is null"
    if data.group_columns:
        problems.append(f"data.group_columns: {why}: set it to []")
    if data.columns.unit:
        problems.append(f"data.columns.unit: {why}: set it to null")
    for column in hold_out:
        if column not in (GENERATOR, SOURCE, data.columns.generator, data.columns.source):
            known = f"{GENERATOR} and {SOURCE} are known"
            problems.append(f"split.hold_out.{column}: without a list only {known}")
    return problems


def _find_class_folders(
    folder: Path, classes: ClassNames, skipped: Skipped, problems: list[str]
) -> _ClassFolders:
    """Class folders in `folder`, or where it has none, those below its folders."""
    found = _ClassFolders()
    entries = sorted(scan_folder(folder, "", skipped), key=lambda e: e.name)
    if beside := find_beside(entries, "", skipped):
        problems.append(f"{len(beside)} files beside the class folders, the first is {beside[0]!r}")
    for entry in entries:
        if is_folder_link(entry) and not is_entered(entry, skipped.trusted):
            problems.append(
                f"{entry.name!r} is a link to the folder {os.readlink(entry.path)!r}: followed if "
                "data.trusted names that folder or one above it"
            )
    folders = [e.name for e in entries if is_entered(e, skipped.trusted)]
    _sort_out("", folders, classes, found, problems)
    if found.labels or not folders:
        return found
    found.strange.clear()
    for name in folders:
        if not _look_below(folder, f"{name}/", classes, found, skipped, problems):
            found.strange.append(name)
    if found.labels:
        above = {str(PurePosixPath(path).parent) for path in found.labels}
        found.notes.append(
            "folders above those of the classes read as sources, and as generators of their fakes: "
            f"{len(above)}"
        )
    return found


def _look_below(
    folder: Path,
    prefix: str,
    classes: ClassNames,
    found: _ClassFolders,
    skipped: Skipped,
    problems: list[str],
) -> bool:
    """Adds the class folders below `folder`/`prefix`; whether there is any."""
    entries = sorted(scan_folder(folder, prefix, skipped), key=lambda e: e.name)
    inside = [e.name for e in entries if is_entered(e, skipped.trusted)]
    links = [e.name for e in entries if is_folder_link(e)]
    skipped.links += [prefix + name for name in links if name not in inside]
    known = len(found.labels)
    _sort_out(prefix, inside, classes, found, problems)
    if len(found.labels) == known and prefix.count("/") < DEEPEST:
        below = [_look_below(folder, f"{prefix}{n}/", classes, found, skipped, problems)
                 for n in inside]  # fmt: skip
        if any(below):
            strange = [name for name, holds in zip(inside, below, strict=True) if not holds]
            found.strange += [prefix + name for name in strange]
    if len(found.labels) > known and (beside := find_beside(entries, prefix, skipped)):
        problems.append(f"{len(beside)} files beside class folders, the first is {beside[0]!r}")
    return len(found.labels) > known


def _sort_out(
    prefix: str,
    names: Sequence[str],
    classes: ClassNames,
    found: _ClassFolders,
    problems: list[str],
) -> None:
    """Adds the class folders among `names`, in any case; the others are strange beside them."""
    exact = {**dict.fromkeys(classes.real_folders, 0), **dict.fromkeys(classes.fake_folders, 1)}
    folded = {name.casefold(): label for name, label in exact.items()}
    if not any(name.casefold() in folded for name in names):
        folded = BENCHMARKS
    labels, others = {}, []
    for name in names:
        label = exact.get(name, folded.get(name.casefold(), NO_LABEL))
        if label == NO_LABEL:
            others.append(name)
        else:
            labels[name] = label
    for name in labels:
        twins = [other for other in labels if other.casefold() == name.casefold()]
        if len(twins) > 1 and name == twins[0] and not {*twins} <= {*exact}:
            field_name = ("real_folders", "fake_folders")[labels[name]]
            problems.append(
                f"{' and '.join(repr(prefix + twin) for twin in twins)} may both be one class: "
                f"data.classes.{field_name}: {write_list(twins)}, or remove one"
            )
    for name in () if prefix else [name for name in labels if name not in exact]:
        found.notes.append(f"folder {name!r} read as {('real', 'fake')[labels[name]]}")
    if labels or not prefix:
        found.strange += [prefix + name for name in others]
    found.labels |= {prefix + name: label for name, label in labels.items()}


def _list_classes(
    folder: Path,
    classes: ClassNames,
    role: Role,
    found: _ClassFolders,
    skipped: Skipped,
    problems: list[str],
) -> list[str]:
    """Names of all files in class folders; adds whatever is missing or too much to `problems`.

    Train has every folder that is named, val at least one of each class.
    """
    there = {path.casefold() for path in found.labels}
    nested = any("/" in path for path in found.labels)
    for label, named in enumerate((classes.real_folders, classes.fake_folders)):
        missing = [name for name in named if name.casefold() not in there]
        respelt = nested or any(
            path.casefold() in BENCHMARKS and found.labels[path] == label for path in found.labels
        )
        if label not in found.labels.values() or (role == "train" and not respelt):
            problems += [f"no folder {name!r}" for name in missing]
    known = [*classes.real_folders, *classes.fake_folders]
    for path in found.strange:
        problems.append(f"unknown folder {path!r}{suggest_name(path, known)}")
    names = []
    for path in found.labels:
        inside = [name for name, _ in walk_files(folder, f"{path}/", skipped)]
        if not inside:
            problems.append(f"folder {path!r} holds no file")
        names += inside
    if nested:
        counts = Counter((str(PurePosixPath(p).parent), label) for p, label in found.labels.items())
        lone = sorted({a for a, _ in counts if not (counts[a, 0] and counts[a, 1])})
        found.notes += [f"{path!r} has a folder of one class alone" for path in lone]
    return names


def _build_rows(
    names: list[str],
    labels_of: Mapping[str, int],
    data: Data,
    files: RoleFiles,
    role: Role,
    hold_out: Sequence[str],
) -> pd.DataFrame:
    n, prefix = len(names), str(PurePosixPath(files.images or "") / "-")[:-1]
    labels, generators, sources = np.full(n, NO_LABEL, np.int8), [""] * n, [""] * n
    if role != "test":
        for i, name in enumerate(names):
            place, below = _split_class(name, labels_of)
            labels[i], sources[i] = labels_of[place], place.rpartition("/")[0]
            if labels[i]:
                generators[i] = sources[i] or (below.partition("/")[0] if "/" in below else "")
    made_by = pd.Series(generators, dtype="str")
    taken_from = pd.Series(sources, dtype="str")
    origins = (SOURCE, data.columns.source)
    columns: dict[str, Any] = {
        "line": np.zeros(n, np.int64),
        "img_name": pd.Series(names, dtype="str"),
        "path": pd.Series([prefix + name for name in names], dtype="str"),
        "label": labels,
        "weight": np.ones(n),
        "draw_weight": np.ones(n),
        "generator": made_by,
        "source": taken_from,
        "unit": pd.Series([""] * n, dtype="str"),
        **{key: pd.Series([""] * n, dtype="str") for key in list_group_keys(data)},
        **{f"hold:{column}": taken_from if column in origins else made_by for column in hold_out},
    }
    return pd.DataFrame(columns)


def _split_class(name: str, labels_of: Mapping[str, int]) -> tuple[str, str]:
    """The class folder of a file, and its path below that."""
    parts = name.split("/")
    for depth in range(1, len(parts)):
        place = "/".join(parts[:depth])
        if place in labels_of:
            return place, "/".join(parts[depth:])
    raise ValueError(f"{name} lies in no class folder")
