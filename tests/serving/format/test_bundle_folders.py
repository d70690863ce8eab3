"""Folders that appear whole, and those that are this user's alone."""

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from features.errors import ConfigError
from serving.format.files import MANIFEST
from serving.format.folders import open_locks, write_folder


@pytest.fixture
def ended() -> int:
    """The number of a process that is over."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def make_bundle_folder(folder: Path, text: str) -> None:
    folder.mkdir()
    (folder / MANIFEST).write_text(text)


@pytest.mark.parametrize("name", ["ensemble", "fold[0]*"])
def test_what_killed_processes_left_is_removed(tmp_path: Path, ended: int, name: str) -> None:
    folder = tmp_path / name
    make_bundle_folder(folder, "first")
    for word in ("new", "old"):
        make_bundle_folder(tmp_path / f".{name}.{word}-{ended}", word)
        make_bundle_folder(tmp_path / f".{name}.{word}-{os.getppid()}", "of one that works")
    with write_folder(folder) as new:
        (new / MANIFEST).write_text("second")
    assert (folder / MANIFEST).read_text() == "second"
    left = {path.name for path in tmp_path.iterdir()} - {name}
    assert left == {f".{name}.{word}-{os.getppid()}" for word in ("new", "old")}


def test_a_bundle_that_a_killed_process_set_aside_is_there_again(
    tmp_path: Path, ended: int
) -> None:
    folder = tmp_path / "ensemble"
    make_bundle_folder(tmp_path / f".ensemble.old-{ended}", "first")
    with pytest.raises(ZeroDivisionError), write_folder(folder):
        raise ZeroDivisionError
    assert (folder / MANIFEST).read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["ensemble"]


def test_locks_lie_where_nobody_else_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = open_locks()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o777)
    assert stat.S_IMODE(open_locks().stat().st_mode) == 0o700
    folder.rmdir()
    (elsewhere := tmp_path / "elsewhere").mkdir()
    folder.symlink_to(elsewhere)
    with pytest.raises(ConfigError, match="is a link") as error:
        open_locks()
    assert "TMPDIR" in str(error.value)
    folder.unlink()
    folder.mkdir()
    another = os.getuid() + 1
    folder.rename(tmp_path / f"forgerystack-{another}")
    monkeypatch.setattr(os, "getuid", lambda: another)
    with pytest.raises(ConfigError, match="another user's"):
        open_locks()
