"""The groups as processes: started side by side, ended in time, and never lost.

A process that breaks, says nothing or takes too long is a failed check of its own. Each leads a
process group, so that whatever it has started ends with it, and has a folder for temporary files
that goes with it.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.gpu.report import LINE, ROOT, list_states

SIDE_BY_SIDE = ("numbers", "training", "stages", "processes", "memory", "compile")
ALONE = ("speed",)
GROUPS = (*SIDE_BY_SIDE, *ALONE)
CORES_EACH = 2
"""With fewer, groups wait for one another."""
ROOM = 4 << 30
"""Bytes that memory must have free for pictures to be read from it."""


@dataclass(frozen=True)
class Group:
    """A process to start, and to end at `until`, as `time.time()` tells it."""

    name: str
    command: Sequence[str]
    until: float
    environment: dict[str, str] = field(default_factory=dict)


@dataclass
class Started:
    """A group that runs since `start`; what it says goes to files in `out`."""

    group: Group
    process: subprocess.Popen[bytes]
    folder: tempfile.TemporaryDirectory[str]
    out: Path
    start: float

    def finish(self) -> list[str]:
        """Its lines, and one more if it broke or was not done; ends all that it has started."""
        done = self.process.poll()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.folder.cleanup()
        said = (self.out / f"{self.group.name}.txt").read_text(errors="replace")
        lines = [line for line in said.splitlines() if LINE.fullmatch(line)]
        if reason := self._find_problem(done, lines):
            lines.append(f"check {self.group.name}.group fail {reason}")
        return lines

    def _find_problem(self, done: int | None, lines: list[str]) -> str:
        if done is None:
            return f"not done after {time.time() - self.start:.0f} s"
        if done:
            last = self.read_errors().strip().splitlines()[-1:]
            return " ".join([f"ended with {done}", *last])
        return "" if list_states(lines) else "it said nothing"

    def read_errors(self) -> str:
        """The end of what it wrote to its stderr."""
        return (self.out / f"{self.group.name}.err").read_text(errors="replace")[-4000:]


def plan_groups(
    names: Sequence[str], device: str, quick: bool, out: Path | None, until: float
) -> list[Group]:
    """The groups of those names, all to be done at `until`; tables go to `out`."""
    threads = str(max(1, (os.cpu_count() or 1) // count_together(names)))
    plans = []
    for name in names:
        command = [sys.executable, "-m", "benchmarks.gpu.run_group", name, "--device", device]
        command += ["--until", str(until)]
        command += ["--quick"] if quick else []
        command += ["--out", str(out.resolve())] if out else []
        environment = {}
        if name in SIDE_BY_SIDE:
            environment["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", threads)
            environment["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # same bits again
        plans.append(Group(name, command, until, environment))
    return plans


def count_together(names: Sequence[str]) -> int:
    """How many of these groups run at a time."""
    if not set(names) <= set(SIDE_BY_SIDE):  # what is timed runs alone
        return 1
    return max(1, min(len(names), (os.cpu_count() or 1) // CORES_EACH))


def run_groups(groups: Sequence[Group], out: Path, together: int) -> Iterator[list[str]]:
    """The lines of each group as it ends; `together` at a time. Their files stay in `out`.

    What a group with a failed check has written to its stderr is shown there.
    """
    waiting, running = list(groups), []
    try:
        while waiting or running:
            while waiting and len(running) < together:
                running.append(start_group(waiting.pop(0), out))
            for one in list(running):
                if one.process.poll() is not None or time.time() > one.group.until:
                    running.remove(one)
                    lines = one.finish()
                    if "fail" in list_states(lines).values():
                        sys.stderr.write(one.read_errors())
                    yield lines
            time.sleep(0.05)
    finally:
        for one in running:
            one.finish()


def start_group(group: Group, out: Path) -> Started:
    """The process of a group, in a process group and with a temporary folder of its own."""
    place = find_memory() if group.name in ALONE else None
    folder = tempfile.TemporaryDirectory(prefix="gpu_check-", dir=place, ignore_cleanup_errors=True)
    said, errors = (out / f"{group.name}.{kind}" for kind in ("txt", "err"))
    with open(said, "wb") as stdout, open(errors, "wb") as stderr:
        process = subprocess.Popen(
            group.command,
            cwd=ROOT,
            env=os.environ | group.environment | {"TMPDIR": folder.name},
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    return Started(group, process, folder, out, time.time())


def find_memory() -> str | None:
    """A folder in memory, where that has room: where a store lies once it has been read."""
    place = Path("/dev/shm")
    if place.is_dir():
        state = os.statvfs(place)
        if state.f_bavail * state.f_frsize > ROOM:
            return str(place)
    return None
