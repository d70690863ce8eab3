"""Saved states: whole or not at all, two of them."""

import os

import pytest
import torch

from stage1_cnn.runtime.checkpoints import Checkpoints


def make_state(step):
    generator = torch.Generator().manual_seed(step)
    return {"step": step, "weights": torch.rand(1000, generator=generator), "history": [{"a": 1.5}]}


@pytest.fixture
def states(tmp_path):
    found = Checkpoints(tmp_path / "states")
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


@pytest.mark.fault("a power cut")
@pytest.mark.parametrize("damaged", [1, 2])
def test_a_damaged_state_pushes_out_no_good_one_of_an_earlier_step(states, damaged):
    for path in list_files(states)[-damaged:]:
        path.write_bytes(cut(path.read_bytes()))
    states.load()
    for step in (30, 40, 50):
        states.save(step, make_state(step))
    assert [int(path.stem.partition("-")[0]) for path in list_files(states)] == [40, 50]
    check(states.load(), 50)


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
    assert {path.suffix for path in states.folder.iterdir()} == {".pt"}


@pytest.mark.fault("a full disk")
def test_on_a_full_disk_the_older_states_stay(states, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(OSError, match="No space left"):
        states.save(200, make_state(200))
    monkeypatch.undo()
    check(states.load(), 100)
    assert not list(states.folder.glob(".*"))
