"""When a training saves and stops, and what it says about its time."""

import os
import signal
import time

import pytest
import torch

from features.errors import Stopped
from features.runtime import interruption
from features.runtime.interruption import Interruption
from stage1_cnn.runtime.session import Session, describe_time
from stage1_cnn.scoring.processes import Processes

ALONE = Processes(torch.device("cpu"))


class Saved:
    """Checkpoints that are noted and kept in memory."""

    def __init__(self):
        self.steps = []

    def save(self, step, state):
        self.steps.append(step)

    def load(self):
        return None


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when they are added."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "time", lambda: now[0])
    monkeypatch.setattr(interruption, "measure_age", lambda: 0.0)
    return now


def take_steps(made, clock, total, seconds=1.0):
    for step in range(1, total + 1):
        clock[0] += seconds
        made.settle(step, total, 10, dict)


def test_states_are_saved_in_time_and_at_the_end(clock):
    saved = Saved()
    take_steps(Session(ALONE, Interruption(), saved, save_minutes=0.5), clock, 100)
    assert saved.steps == [30, 60, 90, 100]
    take_steps(Session(ALONE, Interruption(), every := Saved(), save_minutes=0), clock, 5)
    assert every.steps == [1, 2, 3, 4, 5]


def test_slow_disks_save_less_often(clock):
    class Slow(Saved):
        def save(self, step, state):
            super().save(step, state)
            clock[0] += 2

    take_steps(Session(ALONE, Interruption(), slow := Slow(), save_minutes=0.1), clock, 210)
    assert slow.steps == [6, 106, 206, 210]  # 2 s every 100 s


def test_out_of_time_it_saves_and_stops_before_the_limit(clock):
    saved = Saved()
    made = Session(ALONE, Interruption(max_minutes=1), saved)
    with pytest.raises(Stopped, match=r"after step 59 of 1,000 \(--max-minutes 1\)"):
        take_steps(made, clock, 1000)
    assert saved.steps == [59]


def test_time_for_what_follows_the_next_step_is_kept(clock):
    limit = Interruption(max_minutes=1)
    clock[0] += 30
    made = Session(ALONE, limit, Saved())
    clock[0] += 1
    made.settle(1, 10, 10, dict)
    clock[0] += 1
    with pytest.raises(Stopped, match=r"after step 2 of 10 \(--max-minutes 1\)"):
        made.settle(2, 10, 10, dict, after_next=14.0)


def test_minutes_count_from_the_time_that_is_given(clock, monkeypatch):
    monkeypatch.setenv("FORGERYSTACK_STARTED", "970")
    with pytest.raises(Stopped, match="after step 29 "):
        take_steps(Session(ALONE, Interruption(max_minutes=1), Saved()), clock, 1000)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_step_end_and_is_given_back(clock, number):
    before = signal.getsignal(number)
    saved = Saved()
    with Interruption() as watched:
        made = Session(ALONE, watched, saved)
        made.settle(1, 10, 10, dict)
        os.kill(os.getpid(), number)
        with pytest.raises(Stopped, match=f"after step 2 of 10 .{number.name}."):
            made.settle(2, 10, 10, dict)
    assert saved.steps == [2]
    assert signal.getsignal(number) is before


def test_after_the_last_step_a_signal_stops_at_once():
    with Interruption() as watched:
        watched.stop_at_once()
        with pytest.raises(Stopped, match="SIGTERM"):
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # once is enough


def test_a_signal_that_was_noted_stops_what_has_nothing_to_save():
    with Interruption() as watched:
        watched.stop_at_once()
        watched.note_signals()
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Stopped, match="SIGINT"):
            watched.stop_at_once()


@pytest.mark.fault("what started it is killed")
def test_an_orphan_of_dvc_stops_and_one_of_a_shell_goes_on(clock, monkeypatch):
    shell = Interruption()
    monkeypatch.setenv("DVC_STAGE", "train@a-0")
    orphan = Interruption()
    assert orphan.find_reason() is None
    monkeypatch.setattr(os, "getppid", lambda: 1)
    assert shell.find_reason() is None
    assert "has ended" in orphan.find_reason()


def test_an_orphan_knows_who_started_it_even_if_that_one_ended_long_ago(monkeypatch):
    monkeypatch.setattr("features.runtime.cli._LAUNCHER", str(os.getppid()))
    assert Interruption().find_reason() is None
    monkeypatch.setattr("features.runtime.cli._LAUNCHER", "999999999")
    assert "has ended" in Interruption().find_reason()


def test_the_time_to_expect_is_told_once_after_a_few_steps(clock, caplog):
    caplog.set_level("INFO")
    made = Session(ALONE, Interruption(max_minutes=300), Saved(), save_minutes=1000)
    clock[0] += 30  # the first steps are slow
    take_steps(made, clock, 3000, seconds=2)
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith("to go: 2,990 steps, about 1 h 40 min at 5 images/s; --max-minutes is")


def test_trainings_that_follow_count_in_the_time_to_expect(clock, caplog):
    caplog.set_level("INFO")
    limit = Interruption(max_minutes=150)
    take_steps(Session(ALONE, limit, Saved(), save_minutes=1000, later=2), clock, 3000, seconds=2)
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith("to go: 8,990 steps, about 5 h 0 min at 5 images/s; time for 49 % of")


@pytest.mark.parametrize(
    ("left", "end"),
    [
        (None, "images/s"),
        (4000.0, "; --max-minutes is enough"),
        (900.0, "; time for 25 % of them (--max-minutes)"),
        (-1.0, "; time for 0 % of them (--max-minutes)"),
    ],
)
def test_what_fits_into_the_limit_is_told(left, end):
    text = describe_time(7200, 0.5, 64, left)
    assert text.startswith("to go: 7,200 steps, about 60 min at 128 images/s")
    assert text.endswith(end)
