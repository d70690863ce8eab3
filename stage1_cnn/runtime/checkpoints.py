"""Saved states of a run that may be cut off: found again by all that the run depends on.

`<resume_dir>/<stage>-<name>-<hash>/` holds `key.json`, whose digest is the hash, and the two latest
states, `<step>-<sha256>.pt`. A state that is damaged does not count.
"""

import io
import json
import logging
import pickle
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from features.core.files import digest_bytes, digest_file, digest_json, write_atomic, write_json

KEPT = 2
"""States that are kept: the latest one may turn out damaged."""
PACKAGES = ("torch", "torchvision", "timm", "numpy")
_log = logging.getLogger("forgerystack")


def digest_code() -> str:
    """sha256 of the sources of this project that are loaded now."""
    sources = {}
    for name, module in sys.modules.items():
        path = getattr(module, "__file__", None)
        if name.partition(".")[0] in ("features", "stage1_cnn") and path:
            sources[name] = digest_file(Path(path))
    return digest_json(sources)


def describe_versions() -> dict[str, str]:
    """Versions of what computes: another one rounds otherwise."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


@dataclass(frozen=True)
class Checkpoints:
    """The states of one run. `key` is all that it depends on, as JSON; `name` is for people."""

    root: Path
    name: str
    key: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        """Where they lie."""
        return self.root / f"{self.name}-{digest_json(dict(self.key))[:12]}"

    def open(self) -> None:
        """Makes the folder, clears what a killed run left half-written, and says what is new."""
        if not self.folder.is_dir():
            self._explain_start()
            write_json(self.folder / "key.json", dict(self.key))
        for path in self.folder.glob(".*.tmp-*"):
            path.unlink()

    def load(self) -> dict[str, Any] | None:
        """The latest state that is whole; `None` where there is none."""
        for path in reversed(self._list_states()):
            if digest_file(path).startswith(path.stem.partition("-")[2]):
                try:
                    found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
                    return found
                except (pickle.UnpicklingError, RuntimeError, EOFError):
                    pass  # no state of ours, whatever its name says
            _log.warning("%s is damaged and passed over", path)
        return None

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Writes a state, whole or not at all, and lets the oldest one go."""
        # In memory first: torch's writer would report a full disk as a bug of its own.
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getbuffer()
        path = self.folder / f"{step:09d}-{digest_bytes(content)[:32]}.pt"
        with write_atomic(path) as temporary:
            temporary.write_bytes(content)
        for old in self._list_states()[:-KEPT]:
            old.unlink()

    def clear(self) -> None:
        """Removes these states, and those of other runs of the same name and place."""
        for folder in [self.folder, *self._list_others()]:
            shutil.rmtree(folder, ignore_errors=True)

    def _list_states(self) -> list[Path]:
        return sorted(self.folder.glob("*-*.pt"))

    def _list_others(self) -> dict[Path, dict[str, Any]]:
        """Folders of runs for the same results that differ in something else, and their keys."""
        found = {}
        for path in self.root.glob(f"{self.name}-*/key.json"):
            key = read_key(path)
            if path.parent != self.folder and key.get("out") == self.key["out"]:
                found[path.parent] = key
        return found

    def _explain_start(self) -> None:
        for folder, key in self._list_others().items():
            changed = ", ".join(list_differences(key, dict(self.key)))
            _log.info("%s: a stopped run, but with another %s: not used", folder, changed)


def read_key(path: Path) -> dict[str, Any]:
    """The key in a file; empty where there is none that can be read."""
    try:
        key = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return key if isinstance(key, dict) else {}


def list_differences(old: Any, new: Any, place: str = "") -> list[str]:
    """Names of the values that differ, such as `settings.optimizer.lr`."""
    if isinstance(old, dict) and isinstance(new, dict):
        names = sorted({*old, *new})
        prefix = f"{place}." if place else ""
        return [
            found
            for name in names
            for found in list_differences(old.get(name), new.get(name), f"{prefix}{name}")
        ]
    return [place] if old != new else []
