"""Saved states: whole or not at all, two of them, found by all that a run depends on."""

import os

import pytest
import torch

from stage1_cnn.runtime import checkpoints
from stage1_cnn.runtime.checkpoints import Checkpoints, digest_code, list_differences

KEY = {"out": "members/a/0", "settings": {"optimizer": {"lr": 0.1}}, "code": "c0de"}


def make_state(step):
    generator = torch.Generator().manual_seed(step)
    return {"step": step, "weights": torch.rand(1000, generator=generator), "history": [{"a": 1.5}]}


def open_states(folder, **changes):
    found = Checkpoints(folder, "train-a-0", KEY | changes)
    found.open()
    return found


@pytest.fixture
def states(tmp_path):
    found = open_states(tmp_path)
    for step in (3, 20, 100):
        found.save(step, make_state(step))
    return found


def list_files(states):
    return sorted(states.folder.glob("*.pt"))


def check(state, step):
    assert state["step"] == step
    assert torch.equal(state["weights"], make_state(step)["weights"])
    assert state["history"] == [{"a": 1.5}]


def test_the_latest_of_two_is_loaded(states):
    assert [int(path.stem.partition("-")[0]) for path in list_files(states)] == [20, 100]
    check(states.load(), 100)


def cut(content):
    return content[: len(content) // 2]


def flip(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.fault("a power cut")
@pytest.mark.parametrize("damage", [cut, flip, lambda c: bytes(len(c)), lambda c: b""])
def test_a_damaged_state_is_passed_over_for_the_one_before(states, damage, caplog):
    newest = list_files(states)[-1]
    newest.write_bytes(damage(newest.read_bytes()))
    check(states.load(), 20)
    assert f"{newest} is damaged" in caplog.text
    list_files(states)[0].write_bytes(b"")
    assert states.load() is None


@pytest.mark.fault(
    "SIGKILL while a state is saved",
    "goes on from the one before; what was left is swept",
    "Disks, signals, kills",
)
def test_a_kill_while_saving_leaves_the_older_states_and_nothing_else(states, monkeypatch):
    class Killed(BaseException):
        pass

    def die(*_):
        raise Killed

    monkeypatch.setattr(os, "replace", die)
    with pytest.raises(Killed):
        states.save(200, make_state(200))
    monkeypatch.undo()
    check(states.load(), 100)
    (states.folder / f".{'0' * 9}-x.pt.tmp-1").write_bytes(b"half")
    states.open()
    assert {path.suffix for path in states.folder.iterdir()} == {".pt", ".json"}


@pytest.mark.fault("a full disk")
def test_on_a_full_disk_the_older_states_stay(states, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", refuse)
    with pytest.raises(OSError, match="No space left"):
        states.save(200, make_state(200))
    monkeypatch.undo()
    check(states.load(), 100)
    assert not list(states.folder.glob(".*"))


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
def test_a_run_of_another_key_starts_anew_and_says_why(states, changes, told, caplog, tmp_path):
    caplog.set_level("INFO")
    other = open_states(tmp_path, **changes)
    assert other.load() is None
    assert told in caplog.text
    assert str(states.folder) in caplog.text
    check(states.load(), 100)  # still there, should the change be taken back


def test_a_finished_run_clears_all_states_of_its_place_and_no_others(states, tmp_path):
    elsewhere = open_states(tmp_path, out="trials/a")
    other = open_states(tmp_path, code="new")
    other.clear()
    assert not states.folder.exists()
    assert not other.folder.exists()
    assert elsewhere.folder.exists()


def test_differences_are_named_by_their_place():
    old = {"a": 1, "b": {"c": [1], "d": None}, "e": {"f": 1}}
    new = {"a": 1, "b": {"c": [2], "d": None}, "g": 2}
    assert list_differences(old, new) == ["b.c", "e", "g"]


def test_the_code_is_that_of_the_project(monkeypatch, tmp_path):
    before = digest_code()
    assert digest_code() == before
    changed = tmp_path / "checkpoints.py"
    changed.write_text("pass")
    monkeypatch.setattr(checkpoints, "__file__", str(changed))
    assert digest_code() != before
