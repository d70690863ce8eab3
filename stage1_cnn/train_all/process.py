"""The training of one member as a process of its own, whose lines come out under its name."""

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from threading import Thread
from typing import IO, Any, NamedTuple

from features.runtime.terminal import VARIABLE, get_form, write_document
from stage1_cnn.runtime.launch import build_environment

MODULE = "stage1_cnn.train"


class Name(NamedTuple):
    """Which member: `resnet-0`."""

    backbone: str
    fold: int

    def __str__(self) -> str:
        return f"{self.backbone}-{self.fold}"

    @property
    def stage(self) -> str:
        """Its stage in DVC."""
        return f"train@{self}"


def describe_surroundings(count: int, max_minutes: float | None) -> dict[str, str]:
    """What `count` trainings inherit: as any processes, and one time limit, how they speak."""
    shared = {**build_environment(count), VARIABLE: get_form()}
    if max_minutes is not None:
        shared["FORGERYSTACK_MAX_MINUTES"] = str(max_minutes)
    return shared


class TrainingProcess:
    """`python -m stage1_cnn.train`, running since this object was made."""

    def __init__(self, name: Name, device: str, environment: Mapping[str, str]) -> None:
        self.name, self.device = name, device
        self._aside: deque[str] = deque(maxlen=50)
        self._error = ""
        options = ("--backbone", name.backbone, "--fold", str(name.fold), "--processes", "1")
        self._process = subprocess.Popen(
            [sys.executable, "-m", MODULE, *options],
            env={**os.environ, **environment, "FORGERYSTACK_DEVICE": device},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )
        streams = ((self._process.stdout, False), (self._process.stderr, True))
        self._readers = [Thread(target=self._read, args=ends, daemon=True) for ends in streams]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[str], aside: bool) -> None:
        for line in stream:
            self._say(line.rstrip("\n"), aside)

    def _say(self, line: str, aside: bool) -> None:
        fields = None if aside or get_form() != "json" else _parse(line)
        if fields is not None:
            if fields.get("event") == "error":
                self._error = str(fields.get("message"))
            write_document({**fields, "member": str(self.name)})
            return
        if aside:
            self._aside.append(line)
        out = sys.stderr if aside else sys.stdout
        out.write(f"{self.name} | {line}\n")  # in one go: the others write too
        out.flush()

    def find_code(self) -> int | None:
        """Its exit code, negative where a signal has ended it; `None` while it runs."""
        code = self._process.poll()
        if code is not None:
            for reader in self._readers:
                reader.join(timeout=5)  # what it has left behind may hold the pipe
        return code

    def find_error(self) -> str:
        """What it has said of its failure; of a bug the last line."""
        lines = [line for line in self._aside if line.strip()]
        starts = [i for i, line in enumerate(lines) if line.startswith(f"{MODULE}: ")]
        if self._error or not lines:
            return self._error
        return "\n".join(lines[starts[-1] :]).removeprefix(f"{MODULE}: ") if starts else lines[-1]

    def stop(self) -> None:
        """Asks it to save and end."""
        self._process.terminate()

    def kill(self) -> None:
        """Ends it without asking, and waits until it has ended."""
        self._process.kill()
        self._process.wait()


def _parse(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
