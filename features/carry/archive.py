"""The form of a carry file: a plain tar that holds each content once, and a list at its end.

The list, `carry-<its own sha256>.json`, gives every file's size and sha256. Of files with the same
content only the first one is a member; the others stand in the list alone. A file that was cut or
changed is refused as a whole: the list is gone, or does not fit.
"""

import errno
import hashlib
import io
import os
import re
import shutil
import tarfile
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Literal, NamedTuple, cast

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from features.core.files import digest_bytes, write_atomic
from features.errors import CarryError, IntegrityError
from features.runtime.progress import track

CHUNK = 1 << 20
"""Bytes that are read at once."""
LARGEST_LIST = 1 << 30
"""Bytes that a list may have: that of five million files."""
_LIST_NAME = re.compile(r"carry-([0-9a-f]{64})\.json")


class Facts(NamedTuple):
    """Of one file: bytes, and sha256 of its content."""

    size: NonNegativeInt
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Listing(BaseModel):
    """All files of a carry file, in the order in which they are put in their places."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    form: Literal[1] = 1
    files: dict[str, Facts]
    """By path, relative to the project."""
    folders: list[str]
    """Folders that hold no other files than those in `files`."""

    def list_stored(self) -> dict[str, Facts]:
        """The members of the tar: of each content the first file that has it."""
        first: dict[str, str] = {}
        for path, facts in self.files.items():
            first.setdefault(facts.sha256, path)
        return {path: self.files[path] for path in first.values()}


def write_carry(target: Path, paths: Sequence[str], folders: Sequence[str]) -> Listing:
    """Writes the files `paths`, relative to the working folder, into `target`, atomically.

    Raises `CarryError` if one of them changes meanwhile.
    """
    files: dict[str, Facts] = {}
    stored: dict[int, set[str]] = {}
    with write_atomic(target) as file, _create(file) as tar:
        for path in track(paths, "pack", len(paths), unit="files"):
            files[path] = _add(tar, path, stored)
        listing = Listing(files=files, folders=list(folders))
        content = listing.model_dump_json().encode()
        member = tarfile.TarInfo(f"carry-{digest_bytes(content)}.json")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return listing


def read_listing(source: Path) -> Listing:
    """What a carry file holds, without a look at the contents.

    Raises `IntegrityError` if it was cut, is of another kind, or holds more than plain files.
    """
    if not source.is_file():
        raise CarryError(str(source), ["there is no such file"])
    with _open(source) as tar:
        members = tar.getmembers()
        found = _LIST_NAME.fullmatch(members[-1].name) if members else None
        if not found:
            raise _damaged(source, "no list at its end: it was cut, or is no carry file")
        plain = (tarfile.REGTYPE, tarfile.AREGTYPE)
        if members[-1].size > LARGEST_LIST or members[-1].issparse():
            raise _damaged(source, f"its list is larger than {LARGEST_LIST:,} bytes")
        odd = [m.name for m in members if m.type not in plain or m.issparse()]
        if odd:
            raise _damaged(source, f"more than plain files in it: {', '.join(odd[:3])}")
        stream = tar.extractfile(members[-1])
        content = stream.read() if stream else b""
    if digest_bytes(content) != found[1]:
        raise _damaged(source, "its list was changed")
    try:
        listing = Listing.model_validate_json(content)
    except ValidationError as error:
        raise _damaged(source, "its list is of another form") from error
    stored = [(path, facts.size) for path, facts in listing.list_stored().items()]
    if [(m.name, m.size) for m in members[:-1]] != stored:
        raise _damaged(source, "its members are not those of its list")
    return listing


def extract_contents(source: Path, listing: Listing, wanted: Container[str], folder: Path) -> None:
    """Reads and checks all contents; those of a `wanted` sha256 become `folder`/<sha256>.

    Raises `IntegrityError` if one is not what the list says.
    """
    stored = listing.list_stored()
    with _open(source) as tar:
        for path, facts in track(stored.items(), "unpack", len(stored), unit="files"):
            member = tar.next()
            stream = tar.extractfile(member) if member else None
            if stream is None:
                raise _damaged(source, "it was cut while it was read")
            target = folder / facts.sha256 if facts.sha256 in wanted else None
            if _copy(stream, target) != facts.sha256:
                raise _damaged(source, f"{path} in it was changed")


class _Digester:
    """Hands on what a file holds, and digests it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.sha256 = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self.sha256.update(content)
        return content


def _create(file: IO[bytes]) -> tarfile.TarFile:
    # GNU headers have a checksum, and their sizes no limit.
    return tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT)


def _add(tar: tarfile.TarFile, path: str, stored: dict[int, set[str]]) -> Facts:
    """Adds a file, unless its content is `stored`: the sha256s by size."""
    try:
        with open(path, "rb") as file:
            state = os.fstat(file.fileno())
            member = tarfile.TarInfo(path)
            member.size, member.mtime = state.st_size, int(state.st_mtime)
            same_size = stored.setdefault(member.size, set())
            if same_size:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                if sha256 in same_size:
                    return Facts(member.size, sha256)
                file.seek(0)
            reader = _Digester(file)
            tar.addfile(member, cast(IO[bytes], reader))
    except OSError as error:
        # tarfile tells of a file that became shorter by an error without a number.
        if error.errno not in (None, errno.ENOENT):
            raise
        advice = "Wait for what writes it to end, then pack again."
        raise CarryError(path, ["it changed while it was packed"], advice) from error
    sha256 = reader.sha256.hexdigest()
    same_size.add(sha256)
    return Facts(member.size, sha256)


def _copy(stream: IO[bytes], target: Path | None) -> str:
    """Copies what `stream` holds to `target`, if there is one; returns its sha256."""
    reader = _Digester(stream)
    with open(target or os.devnull, "wb") as file:
        shutil.copyfileobj(reader, file, CHUNK)
    return reader.sha256.hexdigest()


@contextmanager
def _open(source: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(source, "r:") as tar:
            yield tar
    except (tarfile.TarError, ValueError, IndexError, OverflowError) as error:
        raise _damaged(source, f"no whole tar file ({error})") from error


def _damaged(source: Path, reason: str) -> IntegrityError:
    return IntegrityError(source, reason, "Copy it again from where it was packed.")
