"""The form of a carry file: a plain tar that holds each content once, and a list at its end.

The list, `carry-<its own sha256>.json`, gives every file's size and sha256. Of files with the same
content only the first one is a member; the others stand in the list alone. A file that was cut or
changed is refused as a whole: the list is gone, or does not fit.
"""

import hashlib
import re
import tarfile
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from features.errors import CarryError, IntegrityError
from features.files import digest_bytes, write_atomic
from features.progress import track

CHUNK = 1 << 20
"""Bytes that are read at once."""
_LISTING = re.compile(r"carry-([0-9a-f]{64})\.json")


class Facts(NamedTuple):
    """Of one file: bytes, and sha256 of its content."""

    size: NonNegativeInt
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Listing(BaseModel):
    """All files of a carry file, in the order in which they are to be put in their places."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    form: Literal[1] = 1
    files: dict[str, Facts]
    folders: list[str]
    """Folders that hold no other files than those in `files`."""

    def list_stored(self) -> dict[str, Facts]:
        """The members of the tar: of each content the first file that has it."""
        first: dict[str, str] = {}
        for path, facts in self.files.items():
            first.setdefault(facts.sha256, path)
        return {path: self.files[path] for path in first.values()}


class _Digester:
    """Hands on what a file holds, and digests it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.sha256 = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self.sha256.update(content)
        return content


def write_carry(target: Path, paths: Sequence[str], folders: Sequence[str]) -> Listing:
    """Writes the files `paths` of the working folder into `target`, atomically.

    Raises `CarryError` where a file changes meanwhile.
    """
    files: dict[str, Facts] = {}
    sizes: dict[int, set[str]] = {}
    with write_atomic(target) as temporary, _create(temporary) as tar:
        for path in track(paths, "pack", len(paths)):
            try:
                files[path] = _add(tar, path, sizes)
            except FileNotFoundError as error:
                advice = "Wait for what writes it to end, then pack again."
                raise CarryError(path, ["it changed while it was packed"], advice) from error
        listing = Listing(files=files, folders=list(folders))
        content = listing.model_dump_json().encode()
        member = tarfile.TarInfo(f"carry-{digest_bytes(content)}.json")
        member.size = len(content)
        tar.addfile(member, _open_bytes(content))
    return listing


def read_listing(source: Path) -> Listing:
    """What a carry file holds; raises `IntegrityError` if it is none, was cut or does not fit.

    The contents are not read here, `extract_contents` does so.
    """
    if not source.is_file():
        raise CarryError(str(source), ["there is no such file"])
    with _open(source) as tar:
        members = tar.getmembers()
        found = _LISTING.fullmatch(members[-1].name) if members else None
        if not found:
            raise _damaged(source, "it has no list at its end: it was cut, or is no carry file")
        content = _read(tar, members[-1])
    if digest_bytes(content) != found[1]:
        raise _damaged(source, "its list was changed")
    try:
        listing = Listing.model_validate_json(content)
    except ValidationError as error:
        raise _damaged(source, "its list is of another form") from error
    odd = [m.name for m in members if m.type not in (tarfile.REGTYPE, tarfile.AREGTYPE)]
    if odd or any(m.issparse() for m in members):
        raise _damaged(source, f"it holds more than plain files: {', '.join(odd[:3])}")
    if [(m.name, m.size) for m in members[:-1]] != _outline(listing.list_stored()):
        raise _damaged(source, "its members are not those of its list")
    return listing


def extract_contents(
    source: Path, listing: Listing, wanted: Container[str], folder: Path
) -> None:
    """Reads and checks all contents; those with a `wanted` sha256 are written to `folder`.

    Each under its sha256. Raises `IntegrityError` if any content is not what the list says.
    """
    stored = listing.list_stored()
    with _open(source) as tar:
        for (path, facts), member in track(
            zip(stored.items(), tar, strict=False), "check", len(stored)
        ):
            if (member.name, member.size) != (path, facts.size):
                raise _damaged(source, "it changes while it is read")
            target = folder / facts.sha256 if facts.sha256 in wanted else None
            if _copy(tar, member, target) != facts.sha256:
                raise _damaged(source, f"{path} in it was changed")


def _create(path: Path) -> tarfile.TarFile:
    return tarfile.open(path, "w", format=tarfile.GNU_FORMAT)  # headers with a checksum
