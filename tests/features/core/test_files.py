"""The atomic writer: whatever happens, the old file stays whole and nothing lies beside it."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from features.core import files
from features.core.files import (
    digest_bytes,
    digest_file,
    digest_json,
    link_file,
    read_json,
    write_array,
    write_atomic,
    write_json,
    write_text,
)
from features.errors import IntegrityError, MissingArtifactError

PROJECT = Path(files.__file__).parents[2]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "it"
    path.write_text("old")
    return path


def is_alone(path: Path) -> bool:
    return list(path.parent.iterdir()) == [path] and path.read_text() == "old"


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_the_old_file_alone(old: Path, error: type[BaseException]) -> None:
    def stumble() -> None:
        with write_atomic(old) as file:
            file.write(b"half of the n")
            raise error

    with pytest.raises(error):
        stumble()
    assert is_alone(old)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failing_disk_leaves_the_old_file_alone(
    old: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="Input/output"):
        write_text(old, "new")
    assert is_alone(old)


MANIFEST = """
    from features.core.manifest import write_manifest
    from made_data import make_manifest
    write_manifest(make_manifest('train', [0] * 10_000).table, 'train', path)
"""
WRITERS = {
    "text": "write_text(path, 'x' * 10_000)",
    "json": "write_json(path, list(range(10_000)))",
    "array": "write_array(path, np.arange(10_000))",
    "manifest": MANIFEST.strip(),
}
FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from features.core.files import write_array, write_json, write_text

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
path = Path(sys.argv[1])
try:
    {call}
except OSError:
    raise SystemExit(28)
"""


@pytest.mark.fault(
    "a full disk",
    "error; the old file stays, no partial one gets its name",
    "Disks, signals, kills",
)
@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_leaves_the_old_file_alone(old: Path, writer: str) -> None:
    places = os.pathsep.join([str(PROJECT), str(Path(__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK.format(call=WRITERS[writer]), str(old)],
        env={**os.environ, "PYTHONPATH": places, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 28, done.stderr
    assert is_alone(old)


@pytest.mark.fault("a disk that is full to the byte, or keeps other bytes than were written")
@pytest.mark.parametrize("lost", ["tail", "bytes"])
def test_a_disk_that_keeps_something_else_is_told(
    old: Path, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def lose(descriptor: int) -> None:
        if lost == "tail":
            os.ftruncate(descriptor, 100)
        else:
            os.pwrite(descriptor, b"?", 100)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", lose)
    with pytest.raises(OSError, match="bytes are there of 608, or others than were written"):
        write_array(old, np.arange(60))
    assert is_alone(old)


@pytest.mark.fault(
    "a power cut",
    "files are on disk before they get their names; a damaged state is passed over for the "
    "one before",
    "Disks, signals, kills",
)
def test_contents_are_on_disk_before_they_get_their_name(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def note(name: str) -> Callable[..., None]:
        call = getattr(os, name)

        def noted(*arguments: object) -> None:
            steps.append(name)
            call(*arguments)

        return noted

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, note(name))
    write_text(old, "new")
    assert steps == ["fsync", "replace", "fsync"]
    assert old.read_text() == "new"


def test_folders_are_made_and_files_can_be_read_by_all(tmp_path: Path) -> None:
    path = tmp_path / "a b é" / "deep" / "it.txt"
    with write_atomic(path) as file:
        file.write(b"new")
    assert path.stat().st_mode & 0o777 == 0o644
    assert [p.name for p in path.parent.iterdir()] == ["it.txt"]


def test_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileExistsError, match="pipe"):
        write_text(tmp_path / "pipe", "new")
    assert [(p.name, p.is_fifo()) for p in tmp_path.iterdir()] == [("pipe", True)]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [{"a": float("-inf")}]])
def test_json_refuses_what_is_no_number(old: Path, value: object) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(old, value)
    assert is_alone(old)


def test_json_comes_back_and_can_be_read_by_people(tmp_path: Path) -> None:
    value = {"name": "é 字", "numbers": [0.1, 1e-300, 2**60], "none": None}
    write_json(tmp_path / "it.json", value)
    assert read_json(tmp_path / "it.json", "x") == value
    text = (tmp_path / "it.json").read_text(encoding="utf-8")
    assert "é 字" in text
    assert text.endswith("}\n")


def test_missing_json_names_its_stage(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifactError, match="dvc repro inputs"):
        read_json(tmp_path / "it.json", "inputs")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"a": 1} x'])
def test_damaged_json_names_its_stage(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "it.json").write_bytes(content)
    with pytest.raises(IntegrityError, match="dvc repro -f inputs"):
        read_json(tmp_path / "it.json", "inputs")


def test_an_array_comes_back_with_its_type(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float16).reshape(2, 3)
    write_array(tmp_path / "it.npy", array)
    found = np.load(tmp_path / "it.npy")
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_an_array_of_objects_is_refused(old: Path) -> None:
    with pytest.raises(ValueError, match="Object arrays"):
        write_array(old, np.array([{}], dtype=object))
    assert is_alone(old)


def test_digests_are_sha256_of_the_content(old: Path) -> None:
    wanted = subprocess.run(["sha256sum", old], capture_output=True, text=True, check=True)
    assert digest_file(old) == digest_bytes(b"old") == wanted.stdout[:64]


def test_the_digest_of_a_value_is_blind_to_the_order_of_keys_alone() -> None:
    first, same = {"a": 1, "b": [1, 2]}, {"b": [1, 2], "a": 1}
    assert digest_json(first) == digest_json(same)
    assert digest_json(first) == digest_json(json.loads(json.dumps(first)))
    for other in ({"a": 1, "b": [2, 1]}, {"a": "1", "b": [1, 2]}, {"a": 1}):
        assert digest_json(other) != digest_json(first)


@pytest.mark.parametrize("error", [None, errno.EXDEV, errno.EPERM])
def test_a_link_holds_what_its_source_held_on_any_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int | None
) -> None:
    source, path = tmp_path / "source", tmp_path / "out" / "result"
    source.write_bytes(b"whole")
    with monkeypatch.context() as patch:
        if error is not None:
            patch.setattr(os, "link", lambda *_: raise_error(OSError(error, "no links")))
        link_file(source, path)
    source.unlink()
    assert path.read_bytes() == b"whole"
    assert [found.name for found in path.parent.iterdir()] == ["result"]


def raise_error(error: OSError) -> None:
    raise error
