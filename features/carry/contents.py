"""What the next session needs of a project: which files, and that nobody writes them now."""

import hashlib
import itertools
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from filelock import FileLock, Timeout
from pydantic import Field, ValidationError

from features.errors import ConfigError, LockedError
from features.runtime.costs import FOLDER as SECONDS
from features.runtime.resume import ResumeParams
from features.settings.sections import (
    PARAMS_FILE,
    Place,
    StageParams,
    describe_problems,
    load_params,
    read_yaml,
)

CODE = ("features", "stage1_cnn", "stage2_ensemble")
"""Where dependencies are code: files, and folders of them."""
RESUME = Path(".resume")
CACHE = Path(".dvc/cache/files/md5")
LOCK_FILE = Path("dvc.lock")
FOLDERS = (CACHE, RESUME, SECONDS, Path("artifacts"), Path("data/demo"))
REVIEW_FILE = Path("review.csv")
"""As the report names it: labels that somebody corrected."""
FILES = (PARAMS_FILE, LOCK_FILE, REVIEW_FILE)
"""With `FOLDERS` all that is carried; in this order it is unpacked."""
_TEMPORARY = re.compile(r"\..+\.tmp-\d+")  # what features.core.files.write_atomic writes to
_TRANSIENT = (".lock", ".pid")


class LockedPath(StageParams):
    """A dependency or an output in `dvc.lock`."""

    path: str
    md5: str


class LockedStage(StageParams):
    """What `dvc.lock` says of a stage."""

    deps: tuple[LockedPath, ...] = ()
    outs: tuple[LockedPath, ...] = ()


class LockFile(StageParams):
    """`dvc.lock`, as far as it is read here."""

    stages: dict[str, LockedStage] = Field(default_factory=dict)


class StorePlace(StageParams):
    """The one field of `images` that is needed."""

    store_dir: Place = ".store"


class CarryParams(ResumeParams):
    """Where the saved states lie, which are carried, and the decoded images, which never are."""

    images: StorePlace = StorePlace()


@dataclass(frozen=True)
class Contents:
    """What is carried of the project in the working folder."""

    paths: list[str]
    """In the order of unpacking, `dvc.lock` last."""
    folders: list[str]
    """Folders that a stage owns: with one file more in them it runs again."""
    missing: list[str]
    """Outputs that `dvc.lock` names and DVC's cache lacks: their stages run again."""


def choose_contents() -> Contents:
    """Files of the project in the working folder; of DVC's cache those that `dvc.lock` names.

    A damaged object of the cache counts as missing. Raises `ConfigError`.
    """
    params = load_params(CarryParams)
    if Path(params.resume_dir) != RESUME:
        problem = f"resume_dir: {params.resume_dir}, but what is carried is {RESUME}"
        advice = f"Move what lies there to {RESUME}, and remove the line."
        raise ConfigError(str(PARAMS_FILE), [problem], advice)
    outputs = read_outputs()
    objects = {md5: _list_objects(md5) for md5 in set(outputs.values())}
    missing = [path for path, md5 in outputs.items() if not objects[md5]]
    paths = sorted({path.as_posix() for found in objects.values() for path in found})
    store = Path(params.images.store_dir).resolve()
    for folder in FOLDERS[1:]:
        paths += [path.as_posix() for path in list_files(folder) if not _lies_in(path, store)]
    paths += [path.as_posix() for path in FILES if path.is_file()]
    owned = sorted(path for path, md5 in outputs.items() if md5.endswith(".dir"))
    folders = [folder for folder in owned if any(p.startswith(f"{folder}/") for p in paths)]
    return Contents(paths, folders, missing)


def read_outputs() -> dict[str, str]:
    """md5 of each output that `dvc.lock` names; that of a folder ends in `.dir`."""
    return {path: md5 for outputs in _read_lock("outs").values() for path, md5 in outputs.items()}


def _read_lock(kind: Literal["deps", "outs"]) -> dict[str, dict[str, str]]:
    """md5s by path of what `dvc.lock` names, by stage. Raises `ConfigError` for another form."""
    if not LOCK_FILE.is_file():
        return {}
    try:
        lock = LockFile.model_validate(read_yaml(LOCK_FILE))
    except ValidationError as error:
        advice = "Restore it from git, or remove it: dvc repro makes it again."
        problems = describe_problems(LockFile, error)
        raise ConfigError(str(LOCK_FILE), problems, advice) from error
    return {
        name: {entry.path: entry.md5 for entry in getattr(stage, kind)}
        for name, stage in lock.stages.items()
    }


def list_changed_code() -> dict[str, list[str]]:
    """Stages whose code is not what made the results in `dvc.lock`, with what differs.

    That is a file, or a folder of code, of which DVC keeps one digest.
    """
    now: dict[str, str] = {}
    changed: dict[str, list[str]] = {}
    for name, deps in _read_lock("deps").items():
        for path, md5 in deps.items():
            if PurePosixPath(path).parts[0] not in CODE:
                continue
            if path not in now:
                now[path] = digest_dep(Path(path))
            if now[path] != md5:
                changed.setdefault(name, []).append(path)
    return changed


def digest_dep(path: Path) -> str:
    """By which DVC knows a file or a folder of code; empty where there is none."""
    if not path.is_dir():
        return digest_md5(path) if path.is_file() else ""
    files = [p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    listing = [{"md5": digest_md5(p), "relpath": p.relative_to(path).as_posix()} for p in files]
    listing.sort(key=lambda entry: entry["relpath"])
    return hashlib.md5(json.dumps(listing).encode()).hexdigest() + ".dir"


def list_files(folder: Path) -> list[Path]:
    """Files below `folder`, sorted, but none that are being written and no locks of trainings."""
    found = []
    for place, _, names in os.walk(folder, followlinks=True):
        paths = [Path(place, name) for name in names if not _TEMPORARY.fullmatch(name)]
        found += [path for path in paths if path.is_file()]
    return sorted(p for p in found if not (folder == RESUME and p.suffix in _TRANSIENT))


def check_idle() -> None:
    """Raises `LockedError` while a training or a dump works in the project."""
    for lock in sorted(RESUME.rglob("*.lock")):
        try:
            with FileLock(lock, timeout=0):
                pass
        except Timeout:
            owner = lock.with_suffix(".pid")
            pid = (owner if owner.is_file() else lock).read_text(encoding="utf-8").strip()
            raise LockedError(RESUME, pid or "unknown") from None


def find_problem(path: str) -> str:
    """Why a carry file may not hold a file for `path`; empty if it may."""
    pure = PurePosixPath(path)
    plain = pure.as_posix() == path and path.isprintable()
    if pure.is_absolute() or ".." in pure.parts or not plain:
        return f"{path!r} is no plain path inside the project"
    allowed = pure in map(PurePosixPath, FILES) or any(
        PurePosixPath(folder) in pure.parents for folder in FOLDERS
    )
    return "" if allowed else f"{path} is nothing that is carried"


def digest_md5(path: Path) -> str:
    """md5 of a file, by which DVC knows it; 32 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _list_objects(md5: str) -> list[Path]:
    """Objects of an output in DVC's cache, with those of a folder's files; none if one lacks."""
    path = CACHE / md5[:2] / md5[2:]
    if not path.is_file() or digest_md5(path) != md5.removesuffix(".dir"):
        return []
    if not md5.endswith(".dir"):
        return [path]
    files = [_list_objects(item["md5"]) for item in json.loads(path.read_bytes())]
    return [*itertools.chain(*files), path] if all(files) else []


def _lies_in(path: Path, folder: Path) -> bool:
    return folder in path.resolve().parents
