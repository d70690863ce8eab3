"""A run's folder: found by all that it depends on, and gone when the run has ended."""

import pytest

from features.runtime import run_folder
from features.runtime.run_folder import RunFolder, describe_run, digest_code, list_differences

KEY = {"out": "members/a/0", "settings": {"optimizer": {"lr": 0.1}}, "code": "c0de"}


def open_folder(root, **changes):
    found = RunFolder(root, "train-a-0", KEY | changes)
    found.open()
    return found


@pytest.fixture
def kept(tmp_path):
    """A folder of a stopped run, with something in it."""
    found = open_folder(tmp_path)
    (found.path / "work").write_text("done")
    return found


@pytest.mark.fault("SIGKILL while a state is saved")
def test_the_same_run_finds_its_work_and_what_was_half_written_is_swept(kept, tmp_path):
    (kept.path / ".work.tmp-1").write_text("ha")
    again = open_folder(tmp_path)
    assert again.path == kept.path
    assert {path.name for path in again.path.iterdir()} == {"key.json", "work"}


@pytest.mark.fault(
    "going on with other settings, code or data",
    "starts anew and says why",
    "Disks, signals, kills",
)
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"settings": {"optimizer": {"lr": 0.2}}}, "settings.optimizer.lr"),
        ({"code": "new"}, "another code"),
        ({"code": "new", "seed": 1}, "another code, seed"),
    ],
)
def test_a_run_of_another_key_starts_anew_and_says_why(kept, changes, told, caplog, tmp_path):
    caplog.set_level("INFO")
    other = open_folder(tmp_path, **changes)
    assert not (other.path / "work").exists()
    assert told in caplog.text
    assert str(kept.path) in caplog.text
    assert (kept.path / "work").exists()  # should the change be taken back


def test_a_finished_run_clears_all_folders_of_its_results_and_no_others(kept, tmp_path):
    elsewhere = open_folder(tmp_path, out="trials/a")
    other = open_folder(tmp_path, code="new")
    other.clear()
    assert not kept.path.exists()
    assert not other.path.exists()
    assert elsewhere.path.exists()


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_damaged_key_stops_nobody(kept, tmp_path, content):
    (kept.path / "key.json").write_text(content)
    open_folder(tmp_path, code="new").clear()
    assert kept.path.exists()


def test_differences_are_named_by_their_place():
    old = {"a": 1, "b": {"c": [1], "d": None}, "e": {"f": 1}}
    new = {"a": 1, "b": {"c": [2], "d": None}, "g": 2}
    assert list_differences(old, new) == ["b.c", "e", "g"]


def test_the_code_is_that_of_the_project(monkeypatch, tmp_path):
    before = digest_code()
    assert digest_code() == before
    changed = tmp_path / "run_folder.py"
    changed.write_text("pass")
    monkeypatch.setattr(run_folder, "__file__", str(changed))
    assert digest_code() != before


def test_a_key_names_the_versions_of_what_computes(tmp_path):
    key = describe_run(tmp_path, ("numpy",), seed=3)
    assert set(key["versions"]) == {"python", "numpy"}
    assert (key["out"], key["seed"]) == (str(tmp_path), 3)
