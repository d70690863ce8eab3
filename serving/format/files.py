"""The files of a bundle, and whether they are what was written.

bundle = open_bundle(Path("ensemble"))
bundle.facts.members
"""

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from features.core.files import SEAL, digest_file, digest_json
from features.core.sums import write_sums
from features.errors import BundleError
from serving.format.facts import FORM, BundleFacts

MANIFEST = "MANIFEST.json"
FACTS = "bundle.json"
CARD = "README.md"
"""The model card, under the name that hubs show."""
MEMBERS, SECOND_STAGE, SAMPLES = "members", "second_stage", "samples"
"""Folders."""
_MAKING = "In a finished project it is made by: forgerystack bundle"
_ADVICE = "Copy it again, or make it again in its project: forgerystack bundle"


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files are what its manifest says."""

    folder: Path
    facts: BundleFacts
    digest: str
    """sha256 of its manifest, and so of all that it holds."""


def open_bundle(folder: Path) -> Bundle:
    """Checks the sha256 of every file, then reads what the bundle says of itself.

    Raises `BundleError` with all files that are missing, changed or of no bundle.
    """
    sums = read_bundle_sums(folder)
    problems = []
    for name, digest in sums.items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{name} is missing")
        elif digest_file(path) != digest:
            problems.append(f"{name} was changed: its sha256 is not the one in {MANIFEST}")
    if problems:
        raise BundleError(str(folder), problems, _ADVICE)
    return Bundle(folder, _read_facts(folder), digest_file(folder / MANIFEST))


def check_same_bundle(folder: Path, digest: str) -> None:
    """That what was just read of `folder` is of the bundle of this digest.

    Raises `BundleError` where another one took its place.
    """
    if not (folder / MANIFEST).is_file() or digest_file(folder / MANIFEST) != digest:
        raise BundleError(str(folder), ["it is another bundle than the one that is served"])


def find_strays(folder: Path) -> list[str]:
    """Files in the folder that its manifest does not name."""
    names = {path.relative_to(folder).as_posix() for path in list_shown_files(folder)}
    return sorted(names - read_bundle_sums(folder).keys() - {MANIFEST})


def list_shown_files(folder: Path) -> list[Path]:
    """All but hidden ones, and those in hidden folders: hubs and systems put theirs beside what is
    fetched, and nothing reads them."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def seal_bundle(folder: Path) -> None:
    """Writes the manifest of all files in `folder`."""
    write_sums(folder / MANIFEST, [path for path in folder.rglob("*") if path.is_file()])


def read_bundle_sums(folder: Path) -> dict[str, str]:
    """By name the sha256 that each file ought to have; no file is looked at.

    Raises `BundleError` for what is no bundle.
    """
    path = folder / MANIFEST
    if not path.is_file():
        found = (
            f"no bundle: there is no {MANIFEST}" if folder.exists() else "there is no such folder"
        )
        raise BundleError(str(folder), [found], _MAKING)
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        seal = facts.pop(SEAL)
        sums = facts["sha256"]
        inside = all(_lies_inside(name) for name in sums)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BundleError(str(folder), [f"{MANIFEST} is no manifest of a bundle"]) from None
    if seal != digest_json(facts) or not inside:
        raise BundleError(str(folder), [f"{MANIFEST} was changed"], _ADVICE)
    if FACTS not in sums:
        raise BundleError(str(folder), [f"no bundle: {MANIFEST} does not name {FACTS}"])
    return {str(name): str(digest) for name, digest in sums.items()}


def _lies_inside(name: str) -> bool:
    path = Path(name)
    return not path.is_absolute() and ".." not in path.parts


def _read_facts(folder: Path) -> BundleFacts:
    values = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    form = values.get("form")
    if form != FORM:
        problem = f"it has form {form}, and this version of forgerystack reads form {FORM}"
        raise BundleError(str(folder), [problem], "Install the version that made it.")
    try:
        return BundleFacts.model_validate(values)
    except ValidationError as error:
        places = (".".join(map(str, e["loc"])) + f": {e['msg']}" for e in error.errors())
        raise BundleError(str(folder / FACTS), list(places)) from None
