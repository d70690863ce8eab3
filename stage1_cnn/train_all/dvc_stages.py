"""What DVC knows of stages: what has changed, what it can restore, what it is to keep.

DVC is asked as a program, one call at a time: it locks the project while it works.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from features.errors import ConfigError, DvcError

_ALWAYS = "always changed"


def check_dvc() -> None:
    """Raises `ConfigError` where DVC is not installed beside this Python."""
    if importlib.util.find_spec("dvc") is None:
        raise ConfigError("dvc", [f"it is not installed for {sys.executable}"], "Run: make setup")


def list_changes(stages: Sequence[str]) -> dict[str, list[str]]:
    """What has changed of `stages` and of all that they depend on, by stage.

    Files and sections by their names; a stage that is up to date is left out. Raises `DvcError`.
    """
    command = ["status", "--json", "--with-deps", *stages]
    done = _run_dvc(*command)
    if done.returncode:
        raise DvcError(command[0], _find_reason(done))
    found = {stage: _list_names(entries) for stage, entries in json.loads(done.stdout).items()}
    return {stage: names for stage, names in found.items() if names}


def _list_names(entries: Sequence[Any]) -> list[str]:
    """Of one stage: `[{"changed deps": {"a.py": "modified"}}, "changed command", …]`."""
    names: list[str] = []
    for entry in entries:
        if isinstance(entry, str):
            names += [entry] if entry != _ALWAYS else []
        else:
            names += [name for kind in entry.values() for name in kind]
    return names


def restore(stages: Sequence[str]) -> None:
    """What `dvc repro` would take from DVC's cache is laid out, and nothing is run.

    As before any run, DVC removes old results of the others.
    """
    # DVC runs commands by $SHELL; this one fails at once, which is no news.
    never = {"SHELL": shutil.which("false") or "false"}
    _run_dvc("repro", "--single-item", "--keep-going", *stages, **never)


def commit(stage: str) -> None:
    """Makes DVC take the results that are there for those of `stage`. Raises `DvcError`."""
    done = _run_dvc("commit", "--force", stage)
    if done.returncode:
        raise DvcError(f"commit -f {stage}", _find_reason(done))


def _run_dvc(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        process_group=0,  # Ctrl-C must not cut it off
    )


def _find_reason(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return " ".join(errors or lines[-1:])
