"""How far long work is: a bar on a terminal, elsewhere a line now and then, or JSON."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from features.runtime.terminal import get_form, log, shows_bars

FIRST, EVERY, SHARE = 10.0, 30.0, 0.05
"""Seconds until the first line and between lines; later this share of the time so far, so that
what takes a day fills no file."""
JSON_EVERY = 2.0
REDRAW = 0.1
FACTS = ("title", "done", "total", "unit", "rate", "seconds_left")
"""Of a meter, in JSON; the rate is by second."""
SECONDS = "seconds"
"""The unit of work that lasts as long as it is given."""
Item = TypeVar("Item")


def track(
    items: Iterable[Item],
    title: str,
    total: int,
    done: int = 0,
    shown: bool = True,
    unit: str = "parts",
    size: Callable[[Item], int] | None = None,
) -> Iterator[Item]:
    """Yields `items` and shows how much of `total` is done, how fast, and the time left.

    Each item is `size` units, or one. `total` counts those that were `done` before as well. Not
    `shown`: nothing at all.
    """
    with show_progress(title, total, unit, done, shown) as meter:
        for item in items:
            yield item
            meter.advance(size(item) if size else 1)


class Meter:
    """What is done of `total` units, and what is said of it."""

    def __init__(
        self,
        title: str,
        total: int,
        unit: str,
        done: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.title, self.total, self.unit, self.done = title, total, unit, done
        self.draw: Callable[[int, str], None] | None = None
        """What draws the bar, if there is one."""
        self._clock, self._start, self._first = clock, clock(), done
        self._next = self._start + (JSON_EVERY if get_form() == "json" else FIRST)
        self._next_draw = self._start

    def advance(self, count: int = 1, note: str = "") -> None:
        """So many more units are done; `note` says what else there is to say."""
        self.done += count
        now = self._clock()
        if self.draw:
            if now >= self._next_draw:
                self._next_draw = now + REDRAW
                self.draw(self.done, self.describe(note, counts=False))
        elif now >= self._next and self.done < self.total:
            every = JSON_EVERY if get_form() == "json" else EVERY
            self._next = now + max(every, SHARE * (now - self._start))
            facts = {name: getattr(self, name) for name in FACTS}
            log.info("%s", self.describe(note), extra={"event": "progress", "facts": facts})

    @property
    def rate(self) -> float | None:
        """Units a second, in this run so far."""
        seconds = self._clock() - self._start
        return round((self.done - self._first) / seconds, 4) if seconds > 0 else None

    @property
    def seconds_left(self) -> int | None:
        """At this rate; `None` where nothing is done yet."""
        return round(max(0, self.total - self.done) / self.rate) if self.rate else None

    def describe(self, note: str = "", counts: bool = True) -> str:
        """`scan: 12,000 of 524,429 images, 1,830/s, 4 min left`; without counts as beside a bar."""
        parts = [f"{self.title}: {self.done:,} of {self.total:,} {self.unit}"] if counts else []
        if self.rate and self.unit != SECONDS:
            parts.append(describe_rate(self.rate, "" if counts else f" {self.unit}"))
        if self.seconds_left is not None:
            parts.append(f"{format_seconds(self.seconds_left)} left")
        return ", ".join([*parts, note] if note else parts)


_bar: Progress | None = None
_busy = False


@contextmanager
def show_progress(
    title: str, total: int, unit: str, done: int = 0, shown: bool = True
) -> Iterator[Meter]:
    """A meter whose `advance` shows how far the work is. Within another one nothing is shown."""
    global _busy
    meter = Meter(title, total, unit, done)
    if _busy or not shown or not log.isEnabledFor(logging.INFO):
        meter.draw = _draw_nothing
        yield meter
        return
    _busy = True
    if shows_bars():
        meter.draw = _open_bar(title, total, done)
    try:
        yield meter
    finally:
        close_bar()


def _draw_nothing(done: int, facts: str) -> None:
    """Takes the place of a bar where nothing is shown."""


def _open_bar(title: str, total: int, done: int) -> Callable[[int, str], None]:
    global _bar
    bar = _bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=12),
        TextColumn("{task.percentage:.0f} %"),
        TextColumn("{task.fields[facts]}", markup=False),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task(title, total=total, completed=done, facts="")
    bar.start()
    return lambda done, facts: bar.update(task, completed=done, facts=facts)


def close_bar() -> None:
    """Takes the bar away, if there is one: also where an error has left it behind."""
    global _bar, _busy
    _busy = False
    if _bar:
        _bar.stop()
        _bar = None


def describe_rate(rate: float, unit: str = "") -> str:
    """`1,830/s`, `4.2/s`, or `12 s each`; with a unit `1,830 images/s`."""
    if rate < 1:
        return f"{format_seconds(1 / rate)} each"
    return f"{rate:,.0f}{unit}/s" if rate >= 10 else f"{rate:.1f}{unit}/s"


def format_seconds(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 10 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
