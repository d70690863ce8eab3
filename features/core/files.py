"""Files: the one atomic writer, digests, JSON."""

import errno
import glob
import hashlib
import io
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from features.errors import IntegrityError, MissingArtifactError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

SEAL = "sha256 of the rest"
Form = Mapping[str, type | UnionType]
"""The fields that a file must have, and their types."""
_PART = 1 << 20


@dataclass
class _Names:
    """What guards the renaming of finished files of this process, and how many it has renamed."""

    guard: Callable[[], AbstractContextManager[None]] = nullcontext
    given: int = 0


_names = _Names()


@contextmanager
def guard_names(guard: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """Within, finished files are renamed inside `guard()`; where that raises, they are not."""
    before, _names.guard = _names.guard, guard
    try:
        yield
    finally:
        _names.guard = before


def count_written() -> int:
    """Files that this process has written whole."""
    return _names.given


@contextmanager
def name_place(path: Path) -> Iterator[None]:
    """Adds `path` to `OSError`s within that name no file.

    The system says of a full disk that it is full, and not which file was being written.
    """
    try:
        yield
    except Exception as error:
        if getattr(error, "filename", None) is None:
            error.filename = os.fspath(path)  # type: ignore[attr-defined]
        raise


class _CheckedFile(io.RawIOBase):
    """A new file that takes bytes in order, and knows how many and which they were."""

    def __init__(self, path: Path) -> None:
        self._path, self._size, self._checksum = path, 0, 0
        self._file = io.BufferedWriter(io.FileIO(path, "w"))

    def writable(self) -> bool:
        """True: `io` asks before it writes."""
        return True

    def tell(self) -> int:
        """Bytes written so far."""
        return self._size

    def write(self, content: "ReadableBuffer", /) -> int:
        """Takes all of `content`, or raises `OSError`."""
        part = memoryview(content).cast("B")
        self._file.write(part)
        self._size += part.nbytes
        self._checksum = zlib.crc32(part, self._checksum)
        return part.nbytes

    def close(self) -> None:
        """Closes without a check; `finish` checks."""
        if not self.closed:
            self._file.close()
        super().close()

    def finish(self) -> None:
        """Syncs it to the disk; raises `OSError` unless all that it has taken is there."""
        self._file.flush()
        os.fsync(self._file.fileno())
        checksum = 0
        with open(self._path, "rb") as file:
            while part := file.read(_PART):
                checksum = zlib.crc32(part, checksum)
            size = file.tell()
        if (size, checksum) != (self._size, self._checksum):
            reason = f"{size} bytes are there of {self._size}, or others than were written"
            raise OSError(errno.EIO, reason, str(self._path))


@contextmanager
def write_atomic(path: Path) -> Iterator[IO[bytes]]:
    """Yields a file beside `path`, which becomes `path` only if all of it is on the disk.

    Libraries are given this file and no path: numpy, for one, loses the tail of an array on a full
    disk without a word. File and folder are synced, so neither that nor a power cut leaves a
    partial file under the final name.
    """
    with _give_name(path) as temporary, _CheckedFile(temporary) as file:
        yield cast(IO[bytes], file)
        file.finish()


def link_file(source: Path, path: Path) -> None:
    """`path` becomes another name of the file `source`, atomically; on another disk a copy."""
    try:
        with _give_name(path) as temporary:
            os.link(source, temporary)
    except OSError:  # another disk, or one without links
        with open(source, "rb") as content, write_atomic(path) as file:
            shutil.copyfileobj(content, file)


@contextmanager
def _give_name(path: Path) -> Iterator[Path]:
    """Yields a path beside `path`; what is made there gets that name, if nothing is raised.

    A device or a pipe (`/dev/null`) is not replaced by a file: `FileExistsError`.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise FileExistsError(errno.EEXIST, "it is a device or a pipe", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep_beside(path)
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        with name_place(path):
            yield temporary
            temporary.chmod(0o644)
        with _names.guard():
            os.replace(temporary, path)
        _names.given += 1
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sweep_beside(path: Path) -> None:
    """Removes what processes that were killed while they wrote `path` have left beside it."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.tmp-*"):
        try:
            os.kill(int(left.name.rpartition("-")[2]), 0)
        except ProcessLookupError:
            left.unlink(missing_ok=True)
        except (OSError, ValueError):  # of another user, or no name of ours
            continue


def sync_folder(folder: Path) -> None:
    """Flushes the names in a folder: a power cut leaves no new file without one."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Writes `text` as UTF-8, atomically."""
    with write_atomic(path) as file:
        file.write(text.encode())


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as readable JSON, atomically. NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Writes an array as `.npy`, atomically."""
    with write_atomic(path) as file:
        np.save(file, array, allow_pickle=False)


def read_json(path: Path, stage: str) -> Any:
    """Reads JSON that `stage` wrote."""
    if not path.is_file():
        raise MissingArtifactError(path, stage)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        advice = f"Make it again: dvc repro -f {stage}"
        raise IntegrityError(path, f"no valid JSON ({error})", advice) from error


def write_sealed(path: Path, facts: dict[str, Any]) -> None:
    """Writes facts as JSON with their own sha256, which `read_sealed` checks."""
    write_json(path, {**facts, SEAL: digest_json(facts)})


def read_sealed(
    path: Path, stage: str, form: Form | None = None, advice: str = ""
) -> dict[str, Any]:
    """Facts that `stage` wrote with `write_sealed`, and that have the fields of `form`.

    Raises `MissingArtifactError`, or `IntegrityError` if any was changed or is of another type.
    """
    facts = read_json(path, stage)
    seal = facts.pop(SEAL, None) if isinstance(facts, dict) else None
    if seal is None or seal != digest_json(facts):
        advice = advice or f"Make it again: dvc repro -f {stage}"
        raise IntegrityError(path, "it was changed after it was written", advice)
    check_form(path, facts, form or {}, stage)
    return dict(facts)


def check_form(path: Path, facts: Mapping[str, Any], form: Form, stage: str) -> None:
    """Raises `IntegrityError` with the first field that `facts` from `path` lack, or whose type is
    another one, as in a file of another version of this project."""
    for name, kind in form.items():
        if name not in facts or not isinstance(facts[name], kind):
            found = type(facts[name]).__name__ if name in facts else "missing"
            advice = f"Make it again: dvc repro -f {stage}"
            raise IntegrityError(path, f"its field {name} is {found}", advice)


def digest_bytes(content: bytes | bytearray | memoryview) -> str:
    """sha256 of `content`, 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def digest_file(path: Path) -> str:
    """sha256 of a file, 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_digest(path: Path, digest: str, stage: str, listed_in: str = "its JSON") -> None:
    """Raises `MissingArtifactError`, or `IntegrityError` for another sha256 than `digest`.

    DVC links a damaged cache object without a word, so each reader looks for itself.
    """
    if not path.is_file():
        raise MissingArtifactError(path, stage)
    if digest_file(path) != digest:
        advice = f"Make it again: dvc repro -f {stage}"
        raise IntegrityError(path, f"its sha256 is not the one in {listed_in}", advice)


def read_array(
    path: Path, digest: str, stage: str, listed_in: str = "its JSON", mapped: bool = False
) -> npt.NDArray[Any]:
    """An array that `stage` wrote with `write_array`; `mapped`: its rows stay on the disk.

    Raises as `check_digest`, and `IntegrityError` for a file that holds no plain array.
    """
    check_digest(path, digest, stage, listed_in)
    try:
        return np.asanyarray(np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False))
    except (ValueError, EOFError, OSError) as error:
        advice = f"Make it again: dvc repro -f {stage}"
        raise IntegrityError(path, f"no plain array ({error})", advice) from error


def digest_json(value: Any) -> str:
    """sha256 of a value's canonical JSON (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return digest_bytes(text.encode())


def derive_seed(*parts: int | str) -> int:
    """A seed of 32 bits, such as a member's: of the project's seed, its backbone and its fold."""
    return int(digest_json(parts)[:8], 16)
