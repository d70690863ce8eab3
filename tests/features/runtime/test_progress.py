"""How far long work is: lines, rates, and what nobody needs to be told."""

import json
import logging

import pytest

from features.runtime import progress
from features.runtime.progress import Meter, describe_rate, format_seconds, show_progress, track


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _hear(caplog) -> None:
    caplog.set_level(logging.INFO, "forgerystack")


def advance(meter: Meter, clock: Clock, seconds: float, count: int, times: int = 1) -> None:
    for _ in range(times):
        clock.now += seconds
        meter.advance(count)


def test_the_first_line_comes_after_ten_seconds_then_every_thirty(caplog):
    clock = Clock()
    meter = Meter("scan", 524_429, "images", clock=clock)
    advance(meter, clock, 0.5, 915, 19)
    assert caplog.messages == []
    advance(meter, clock, 0.5, 915)
    assert caplog.messages == ["scan: 18,300 of 524,429 images, 1,830/s, 5 min left"]
    advance(meter, clock, 1, 1830, 29)
    assert len(caplog.messages) == 1
    advance(meter, clock, 1, 1830)
    assert caplog.messages[1:] == ["scan: 73,200 of 524,429 images, 1,830/s, 4 min left"]


def test_a_night_fills_no_log(caplog):
    clock = Clock()
    meter = Meter("train", 36_000, "images", clock=clock)
    advance(meter, clock, 1, 1, 36_000)
    assert 60 < len(caplog.messages) < 130


def test_what_was_done_before_counts_as_done_but_not_for_the_rate(caplog):
    clock = Clock()
    meter = Meter("dump val", 1000, "images", done=800, clock=clock)
    advance(meter, clock, 20, 100)
    assert caplog.messages == ["dump val: 900 of 1,000 images, 5.0/s, 20 s left"]


def test_slow_units_are_told_by_their_time_and_notes_come_last(caplog):
    clock = Clock()
    meter = Meter("judge candidates", 5, "parts of the rows", clock=clock)
    clock.now += 45
    meter.advance(1, "epoch 1/3, loss 0.5000")
    wanted = "judge candidates: 1 of 5 parts of the rows, 45 s each, 3 min left, epoch 1/3, "
    assert caplog.messages == [f"{wanted}loss 0.5000"]


def test_the_end_is_left_to_the_line_that_tells_the_result(caplog):
    clock = Clock()
    meter = Meter("scan", 10, "images", clock=clock)
    advance(meter, clock, 100, 10)
    assert caplog.messages == []


def test_items_that_stand_for_several_units_count_as_many(monkeypatch, caplog):
    monkeypatch.setattr(progress, "FIRST", 0.0)
    items = [[1, 2, 3], [4], [5, 6]]
    assert list(track(items, "read", 6, unit="images", size=len)) == items
    assert caplog.messages[0].startswith("read: 3 of 6 images, ")


def test_within_other_work_and_in_other_processes_nothing_is_said(monkeypatch, caplog):
    monkeypatch.setattr(progress, "FIRST", 0.0)
    with show_progress("outer", 2, "parts") as meter:
        assert list(track(range(3), "inner", 3)) == [0, 1, 2]
        meter.advance()
    assert list(track(range(3), "another process", 3, shown=False)) == [0, 1, 2]
    assert [message.split(":")[0] for message in caplog.messages] == ["outer"]


def test_work_that_fails_leaves_room_for_the_next(monkeypatch, caplog):
    monkeypatch.setattr(progress, "FIRST", 0.0)
    with pytest.raises(KeyError), show_progress("first", 2, "parts"):
        raise KeyError
    with show_progress("second", 2, "parts") as meter:
        meter.advance()
    assert caplog.messages[0].startswith("second: 1 of 2 parts")


def test_facts_are_told_with_the_line(caplog):
    clock = Clock()
    meter = Meter("scan", 200, "images", clock=clock)
    advance(meter, clock, 10, 50)
    facts = caplog.records[0].facts
    wanted = {"title": "scan", "done": 50, "total": 200, "unit": "images"}
    assert facts == {**wanted, "rate": 5.0, "seconds_left": 30}
    assert json.loads(json.dumps(facts)) == facts


def test_rates_and_times_are_told_in_words():
    assert [describe_rate(r) for r in (1830.4, 4.24, 0.02)] == ["1,830/s", "4.2/s", "50 s each"]
    assert describe_rate(1830, " images") == "1,830 images/s"
    told = [format_seconds(s) for s in (0.4, 45, 99, 720, 3600 * 3 + 600)]
    assert told == ["0 s", "45 s", "99 s", "12 min", "3 h 10 min"]
