"""What `python -m features.prepare` does."""

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from features.core.files import digest_bytes, write_json, write_text
from features.core.manifest import (
    HELD_OUT,
    NO_OVERRIDE,
    READABLE,
    ROLES,
    SCHEMA,
    SUMS,
    TEXT,
    Role,
    count_classes,
    write_manifest,
)
from features.core.sums import write_sums
from features.core.trusted import find_trusted
from features.errors import ManifestError, PictureError
from features.lists.class_folders import read_role
from features.lists.folders import split_by_list
from features.lists.label_file import ListedRows, list_group_keys
from features.pixels.cache import ImageCache
from features.pixels.facts import Scan
from features.pixels.store import keep_pixels
from features.pixels.thumbnails import Thumbnails
from features.prepare.face_rows import count_missed, list_faces
from features.prepare.label_overrides import count_overrides, override_labels
from features.prepare.roles import check_hold_out, find_held, settle_val, split_roles
from features.prepare.same_pictures import (
    Mask,
    SamePictures,
    apply_policy,
    count_pairs,
    find_label_conflicts,
    find_same_pictures,
    list_pairs,
)
from features.prepare.summary import build_markdown, describe_lost, summarise
from features.prepare.video_rows import list_frames
from features.settings.data import PrepareParams, RoleFiles
from features.splits.folds import check_classes
from features.splits.groups import build_groups
from features.splits.names import link_repeated

OUT = Path("artifacts/manifest")
SEALED = ("quarantine.csv", "duplicates.csv", "summary.json")
_log = logging.getLogger("forgerystack")


def attach_scans(rows: pd.DataFrame, scans: pd.DataFrame) -> pd.DataFrame:
    """`rows` with what their files hold (fields of `Scan`), and `status`."""
    facts = scans.set_axis(rows.index)
    status = facts.pop("problem").where(lambda problem: problem != "", READABLE)
    return pd.concat([rows, facts.assign(status=status)], axis=1)


def attach_nothing(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` of lists without pictures: a path stands for what its file would hold."""
    digests = [digest_bytes(path.encode()) for path in rows["path"]]
    scans = pd.DataFrame([asdict(Scan("", sha256=digest)) for digest in digests])
    return attach_scans(rows, scans)


def finish_role(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` in the manifest's form: columns of its schema, `row_id` 0 … n-1."""
    rows = rows.reset_index(drop=True)
    rows["row_id"] = np.arange(len(rows), dtype=np.int64)
    numbers = {name: kind for name, kind in SCHEMA.items() if kind != TEXT}
    return rows.reindex(columns=list(SCHEMA)).astype(numbers)


def _read_tables(params: PrepareParams) -> tuple[pd.DataFrame, int, dict[Role, list[str]]]:
    """Rows of all roles, how many repeated lines were dropped, and how each role was read.

    Raises all problems at once.
    """
    tables, problems, repeated, read_as = [], [], 0, {}
    for role in ROLES:
        if getattr(params.data, role) is None:
            continue
        try:
            listed = _read_lists(params, role)
            if role == "train":
                check_hold_out(listed.rows, params.split.hold_out)
            rows = list_faces(list_frames(listed.rows, params.data), params)
        except (ManifestError, PictureError) as error:
            problems.append(str(error))
            continue
        for note in listed.notes:
            _log.info("prepare: %s: %s", role, note)
        tables.append(rows.assign(role=role))
        repeated += listed.repeated
        read_as[role] = listed.notes
    if problems:
        raise ManifestError("label files", list(dict.fromkeys(problems)))
    return override_labels(pd.concat(tables, ignore_index=True), params), repeated, read_as


def _read_lists(params: PrepareParams, role: Role) -> ListedRows:
    """Rows of a role, of all its lists. Raises `ManifestError` with the problems of all of them."""
    parts = split_by_list(params.data, role)
    if len(parts) == 1:
        return read_role(parts[0], params.split.hold_out, role)
    lists: dict[str, ListedRows] = {}
    problems = []
    for data in parts:
        files: RoleFiles = getattr(data, role)
        try:
            lists[str(files.labels)] = read_role(data, params.split.hold_out, role)
        except ManifestError as error:
            problems.append(str(error))
    if problems:
        raise ManifestError(f"lists of {role}", problems)
    rows = pd.concat([listed.rows for listed in lists.values()], ignore_index=True)
    place = np.repeat(list(lists), [len(listed.rows) for listed in lists.values()])
    twice: dict[int, str] = {}
    for key in ("img_name",) if role == "test" else ("img_name", "path"):
        for first, again in link_repeated(rows[key]).tolist():
            told = f"{rows[key][again]!r} stands in {place[first]} and in {place[again]}"
            twice.setdefault(again, told)
    if twice:
        raise ManifestError(f"lists of {role}", list(twice.values()))
    notes = [f"{name}: {note}" for name, listed in lists.items() for note in listed.notes]
    return ListedRows(rows, sum(listed.repeated for listed in lists.values()), notes)


def _scan_rows(rows: pd.DataFrame, params: PrepareParams, cache: ImageCache) -> pd.DataFrame:
    """`rows` with what their files hold; the cache holds their pixels afterwards if it should."""
    root, paths = Path(params.data.root), rows["path"].tolist()
    images = params.images

    def pixels(missing: int) -> bool:
        return keep_pixels(images, missing, missing * images.image_bytes)

    trusted = find_trusted(params.data.trusted)
    found = cache.scan(root, paths, params.data, pixels, "read images", trusted)
    return attach_scans(rows, found)


def _open_thumbnails(rows: pd.DataFrame, cache: ImageCache) -> Thumbnails:
    slots = rows["slot"].to_numpy(np.int64)
    return Thumbnails(cache.thumbnails, cache.place_thumbnails(slots))


def quarantine(rows: pd.DataFrame, params: PrepareParams, out: Path) -> pd.DataFrame:
    """Lists what cannot be used; takes it out of train and val, keeps it in test.

    Raises `ManifestError` where too much of train or val, or all of test, cannot be used.
    """
    conflicts = _find_conflicts(rows, params)
    status = rows["status"].mask(conflicts, "the same file stands under both labels")
    rows = rows.assign(status=status)
    bad = rows[rows["status"] != READABLE]
    path = out / "quarantine.csv"
    columns = ["role", "line", "img_name", "path", "status"]
    write_text(path, bad[columns].to_csv(index=False))
    problems: list[str] = []
    counts: list[str] = []
    for role in ROLES:
        part, total = bad[bad["role"] == role], int((rows["role"] == role).sum())
        lopsided = describe_lost(role, *count_classes(part["label"]))
        if lopsided:
            _log.warning("prepare: %s", lopsided)
        if not _is_too_much(role, len(part), total, params.data.max_bad_fraction):
            continue
        counts += filter(None, [lopsided])
        counts.append(f"{len(part)} of {total} {role} images cannot be used.")
        listed = zip(part["path"], part["line"], part["status"], strict=True)
        problems += [f"{_name_place(*place)}: {status}" for *place, status in listed]
    if problems:
        limit = f"data.max_bad_fraction is {params.data.max_bad_fraction:g}"
        advice = " ".join([*counts, f"{limit}. The whole list: {path}"])
        raise ManifestError("images", problems, advice)
    return rows[(rows["status"] == READABLE) | (rows["role"] == "test")].reset_index(drop=True)


def _find_conflicts(rows: pd.DataFrame, params: PrepareParams) -> Mask:
    """`(n,)`: rows whose very file stands under both labels.

    Where only an override says so, rows that are val, or may become it, stay: the rows of the
    headline must not depend on which of them somebody disputes.
    """
    conflicts = find_label_conflicts(rows, "corrected")
    if params.data.final or not (rows["override"] != NO_OVERRIDE).any():
        return conflicts
    learned = (rows["role"] == "train").to_numpy(bool) & (params.data.val is not None)
    learned &= ~find_held(rows, params.split.hold_out)
    return conflicts & (learned | find_label_conflicts(rows, "label"))


def _name_place(path: str, line: int) -> str:
    """Rows of class folders stand in no list."""
    return f"{path} (line {line})" if line else path


def _is_too_much(role: Role, bad: int, total: int, limit: float) -> bool:
    """Test rows keep their line, flagged, as long as there is one that can be labelled."""
    return bad == total > 0 if role == "test" else bad > limit * total


def group_rows(rows: pd.DataFrame, params: PrepareParams, same: SamePictures) -> pd.DataFrame:
    """`rows` with `group`: rows that share a picture, a unit or a value of a group column.

    Neither pictures nor units of test link anything here: a new test list must not change the folds
    of train.
    """
    keys = rows[list_group_keys(params.data)]
    keys = keys.assign(unit=rows["unit"].mask(rows["role"] == "test", ""))
    return rows.assign(group=build_groups(keys, same.links))


def _check_both_classes(parts: Mapping[Role, pd.DataFrame], final: bool) -> None:
    problems = []
    roles: tuple[Role, ...] = ("train",) if final else ("train", "val")
    for role in roles:
        rows = parts[role]
        reals, fakes = count_classes(rows["label"][rows["domain"] != HELD_OUT])
        if not reals or not fakes:
            problems.append(f"{role}: {reals} reals and {fakes} fakes, but both are needed")
    if problems:
        raise ManifestError("labels", problems)


def run(params: PrepareParams, out: Path = OUT) -> None:
    """Reads lists and images, writes manifests, quarantine, same pictures and the summary."""
    rows, repeated, read_as = _read_tables(params)
    with ImageCache(params.images) if params.data.has_pictures else nullcontext() as cache:
        rows = _scan_rows(rows, params, cache) if cache else attach_nothing(rows)
        listed = rows[["role", "status", "label"]]
        reviewed = int(((rows["override"] != NO_OVERRIDE) | rows["confirmed"]).sum())
        rows = quarantine(rows, params, out)
        rows = settle_val(rows, params)
        thumbnails = _open_thumbnails(rows, cache) if cache else None
        same = find_same_pictures(rows, thumbnails, cache.folder if cache else None)
    dropped = apply_policy(rows, same, params.split.cross_role_duplicates)
    pairs = list_pairs(rows, same, dropped)
    rows = group_rows(rows, params, same)[~dropped]
    parts = split_roles(rows, params)
    del rows  # with ten million of them a copy takes 3 GB
    _check_both_classes(parts, params.data.final)
    overrides = count_overrides(parts, reviewed)
    roles = {role: finish_role(parts.pop(role)) for role in ROLES}
    train = roles["train"]
    check_classes(train["label"].to_numpy(), train["fold"].to_numpy(), params.folds.active)
    for role in ROLES:
        write_manifest(roles[role], role, out / f"{role}.parquet")
    write_text(out / "duplicates.csv", pairs.to_csv(index=False))
    summary = summarise(roles, listed, params.folds)
    summary["read as"] = read_as
    summary["repeated lines dropped"] = repeated
    summary["same pictures"] = count_pairs(pairs, same, dropped)
    if params.images.faces != "none":
        summary["no face found"] = {role: count_missed(rows) for role, rows in roles.items()}
    if params.data.label_overrides is not None:
        summary["label overrides"] = overrides
    write_json(out / "summary.json", summary)
    text = build_markdown(summary, params)
    write_text(out / "summary.md", text)
    write_sums(out / SUMS, [out / name for name in SEALED])
    _log.info("%s", text)
