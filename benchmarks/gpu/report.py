"""What a group has to say: a line a check, a line a value."""

import re
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
LINE = re.compile(
    r"check (?P<check>[\w.+-]+) (?P<state>pass|fail|skip)( .+)?"
    r"|(value [\w.+-]+|profile [\w.+-]+ \S+) (-?[\d.e+-]+|nan|inf) \S.*"
)


@dataclass
class Report:
    """The lines of one group, about one device."""

    group: str
    device: torch.device
    quick: bool = False
    out: Path | None = None
    """Folder for tables that are too long for a line."""
    until: float = float("inf")
    """When the group is ended, as `time.time()` tells it."""

    @property
    def small(self) -> bool:
        """Small networks and pictures: those of a CPU, where only the code is tried out."""
        return self.device.type == "cpu"

    @property
    def left(self) -> float:
        """Seconds that the group still has."""
        return self.until - time.time()

    def check(self, name: str, passed: bool, value: object) -> None:
        """`check GROUP.NAME pass|fail VALUE`."""
        self._check(name, "pass" if passed else "fail", value)

    def skip(self, name: str, reason: str) -> None:
        """`check GROUP.NAME skip REASON`."""
        self._check(name, "skip", reason)

    def _check(self, name: str, state: str, value: object) -> None:
        print(f"check {self.group}.{name} {state} {' '.join(str(value).split())}", flush=True)

    def value(self, name: str, number: float, unit: str) -> None:
        """`value GROUP.NAME NUMBER UNIT`."""
        print(f"value {self.group}.{name} {format_number(number)} {unit}", flush=True)

    def profile(self, name: str, part: str, share: float) -> None:
        """`profile GROUP.NAME PART SHARE %`: what `part` takes of all the device's time, 0 … 1."""
        short = re.sub(r"\s+", "_", part)[:60]
        print(f"profile {self.group}.{name} {short} {100 * share:.1f} %", flush=True)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What breaks within it is a failed check and no more."""
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            self.check(name, False, describe_error(error))


def describe_error(error: BaseException) -> str:
    """Its kind and the first line of what it says."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:160]}"


def format_number(number: float) -> str:
    """`0.951`, `3301`: four digits, and no exponent for thousands."""
    return f"{number:.0f}" if 1000 <= abs(number) < 1e9 else f"{number:.4g}"


def measure_error(found: Tensor, wanted: Tensor) -> float:
    """‖found - wanted‖ / ‖wanted‖, computed in float64 on the host."""
    found, wanted = found.detach().cpu().double(), wanted.detach().cpu().double()
    return float((found - wanted).norm() / wanted.norm())


def list_states(lines: Iterable[str]) -> dict[str, str]:
    """`pass`, `fail` or `skip` of each check in `lines`, by name; a failure is never taken back."""
    states: dict[str, str] = {}
    for line in lines:
        found = LINE.fullmatch(line)
        if found and found["check"] and states.get(found["check"]) != "fail":
            states[found["check"]] = found["state"]
    return states
