"""The index of a cache: when all of it is looked through, and what damage to it does."""

import errno
import sqlite3
from pathlib import Path

import pytest

from features.caching import indexed_folder
from features.caching.indexed_folder import IndexedFolder

SCHEMA = "CREATE TABLE IF NOT EXISTS known (name TEXT PRIMARY KEY, value INTEGER);"


class Numbers(IndexedFolder):
    """Numbers by name."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, SCHEMA)

    def add(self, name: str, value: int) -> None:
        self._index.execute("INSERT OR REPLACE INTO known VALUES (?, ?)", (name, value))
        self.commit()

    def find_all(self) -> dict[str, int]:
        return dict(self._index.execute("SELECT name, value FROM known"))


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The indices that were looked through."""
    seen: list[str] = []
    check = indexed_folder.check_index

    def count(index: sqlite3.Connection) -> None:
        seen.append(index.execute("PRAGMA database_list").fetchone()[2])
        check(index)

    monkeypatch.setattr(indexed_folder, "check_index", count)
    return seen


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Numbers(tmp_path) as numbers:
        for i in range(50):
            numbers.add(f"number {i:03}", i)
    return tmp_path


def test_an_index_that_was_left_whole_is_not_looked_through(
    folder: Path, checked: list[str]
) -> None:
    for i in (50, 51, 52):
        with Numbers(folder) as numbers:
            assert len(numbers.find_all()) == i
            numbers.add(f"number {i:03}", i)
    assert checked == []


def test_one_of_before_is_looked_through_once(folder: Path, checked: list[str]) -> None:
    for path in folder.glob("*.sha256"):
        path.unlink()
    for _ in range(3):
        with Numbers(folder) as numbers:
            assert len(numbers.find_all()) == 50
    assert len(checked) == 1


def fail_within(folder: Path, value: int | None) -> None:
    with Numbers(folder) as numbers:
        if value is not None:
            numbers.add(f"number {value:03}", value)
        raise RuntimeError


def test_one_that_was_changed_before_an_error_is_looked_through(
    folder: Path, checked: list[str]
) -> None:
    for value, times in ((None, 0), (50, 1)):
        with pytest.raises(RuntimeError):
            fail_within(folder, value)
        with Numbers(folder) as numbers:
            assert len(numbers.find_all()) == 50 + times
        assert len(checked) == times


def test_on_a_full_disk_it_is_looked_through_the_next_time(
    folder: Path, checked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_up(path: Path) -> None:
        raise OSError(errno.ENOSPC, "no space left", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(indexed_folder, "write_atomic", fill_up)
        with Numbers(folder) as numbers:
            numbers.add("number 050", 50)
    for _ in range(2):
        with Numbers(folder) as numbers:
            assert len(numbers.find_all()) == 51
    assert len(checked) == 1


@pytest.mark.parametrize("place", [0, 1])
def test_one_damaged_byte_of_a_key_is_noticed(
    folder: Path, place: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Each name stands twice: in its row, and among the keys."""
    path = folder / "index.sqlite"
    parts = path.read_bytes().split(b"number 007")
    assert len(parts) == 3
    names = [b"number 007", b"number 007"]
    names[place] = b"number ?07"
    path.write_bytes(parts[0] + names[0] + parts[1] + names[1] + parts[2])
    with Numbers(folder) as numbers:
        assert numbers.find_all() == {}
    assert "is damaged; everything is read again" in caplog.text
