"""What one stage writes for another: sums of files, and the fields that a file must have."""

import os
from pathlib import Path

import pytest

from features.core.files import name_place, read_sealed, write_sealed, write_text
from features.core.sums import check_sums, write_sums
from features.errors import IntegrityError, MissingArtifactError


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    """Sums of two tables in a folder and of a list beside it."""
    files = [tmp_path / name for name in ("plots/roc.csv", "plots/pr.csv", "list.csv")]
    for path in files:
        write_text(path, f"{path.name}\n1\n")
    write_sums(tmp_path / "x.sums.json", files)
    return tmp_path / "x.sums.json"


def test_the_files_that_match_come_back_checked(sums: Path) -> None:
    found = check_sums(sums, "x", "plots/*.csv")
    assert found == [sums.parent / "plots" / name for name in ("pr.csv", "roc.csv")]
    assert check_sums(sums, "x", "list.csv") == [sums.parent / "list.csv"]
    assert len(check_sums(sums, "x", "*")) == 3


def test_a_changed_file_is_told_with_its_stage(sums: Path) -> None:
    (sums.parent / "plots/roc.csv").write_text("roc.csv\n2\n")
    with pytest.raises(IntegrityError, match=r"roc\.csv is damaged.*x\.sums\.json.*repro -f x"):
        check_sums(sums, "x", "plots/*.csv")
    assert check_sums(sums, "x", "list.csv")


@pytest.mark.parametrize("lost", ["plots/roc.csv", "x.sums.json"])
def test_a_lost_file_is_told_with_its_stage(sums: Path, lost: str) -> None:
    (sums.parent / lost).unlink()
    with pytest.raises(MissingArtifactError, match="dvc repro x"):
        check_sums(sums, "x", "plots/*.csv")


def test_what_is_not_listed_is_not_read(sums: Path) -> None:
    write_text(sums.parent / "new.csv", "1\n")
    with pytest.raises(IntegrityError, match=r"does not list new\.csv"):
        check_sums(sums, "x", "new.csv")


def test_sums_that_were_edited_are_refused(sums: Path) -> None:
    sums.write_text(sums.read_text().replace("list.csv", "lost.csv"))
    with pytest.raises(IntegrityError, match="it was changed"):
        check_sums(sums, "x", "lost.csv")


@pytest.mark.parametrize(
    ("facts", "problem"),
    [({}, "rows is missing"), ({"rows": "3"}, "rows is str"), ({"rows": None}, "rows is NoneType")],
)
def test_a_field_of_another_type_is_named(tmp_path: Path, facts: dict, problem: str) -> None:
    write_sealed(tmp_path / "it.json", facts)
    with pytest.raises(IntegrityError, match=rf"it\.json is damaged: its field {problem}"):
        read_sealed(tmp_path / "it.json", "x", {"rows": int})


def test_an_error_without_a_place_gets_one() -> None:
    with pytest.raises(OSError, match=r"'a/b\.csv'"), name_place(Path("a/b.csv")):
        raise OSError(28, "No space left on device")
    with pytest.raises(OSError, match="'c'"), name_place(Path("a/b.csv")):
        raise OSError(28, "No space left on device", "c")


def test_what_a_killed_run_left_is_swept_and_that_of_one_that_lives_stays(tmp_path: Path) -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    dead, other = tmp_path / f".it.tmp-{child}", tmp_path / f".that.tmp-{child}"
    living = tmp_path / f".it.tmp-{os.getppid()}"
    for path in (dead, other, living):
        path.touch()
    write_text(tmp_path / "it", "x")
    assert sorted(tmp_path.iterdir()) == sorted([living, other, tmp_path / "it"])
