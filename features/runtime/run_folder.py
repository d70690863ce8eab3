"""Where a run keeps what it goes on from, found again by all that its results depend on.

`<root>/<name>-<hash>/` holds `key.json`, whose digest is the hash, beside what the run keeps.

    key = describe_run(out, ("numpy",), manifest=train.digest)
    kept = RunFolder(Path(".resume"), "forensics", key)
    kept.open()
    ...  # work in kept.path
    kept.clear()
"""

import json
import logging
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from features.core.files import digest_file, digest_json, write_json

PROJECT = ("features", "stage1_cnn")
"""Packages whose runs can be gone on with."""
_log = logging.getLogger("forgerystack")


def describe_run(out: Path, packages: Sequence[str], **facts: Any) -> dict[str, Any]:
    """The key of a run: all that its results depend on, and the folder that they go to.

    `packages` are those that compute: another version of one rounds otherwise.
    """
    versions = list_versions(packages)
    return {"out": out.as_posix(), "code": digest_code(), "versions": versions, **facts}


def list_versions(packages: Sequence[str]) -> dict[str, str]:
    """Versions of Python and of these packages, by name."""
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def digest_code() -> str:
    """sha256 of the sources of this project that are loaded now."""
    sources = {}
    for name, module in sys.modules.items():
        path = getattr(module, "__file__", None)
        if name.partition(".")[0] in PROJECT and path:
            sources[name] = digest_file(Path(path))
    return digest_json(sources)


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run below `root`; `name` is for people, `key` as of `describe_run`."""

    root: Path
    name: str
    key: Mapping[str, Any]

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.root / f"{self.name}-{digest_json(dict(self.key))[:12]}"

    def open(self) -> None:
        """Makes it, sweeps what a killed run left half-written, and says what else has changed."""
        if not self.path.is_dir():
            for folder, key in self._list_others().items():
                changed = ", ".join(list_differences(key, dict(self.key)))
                _log.info("%s: a stopped run, but with another %s: not used", folder, changed)
            write_json(self.path / "key.json", dict(self.key))
        for path in self.path.glob(".*.tmp-*"):
            path.unlink()

    def clear(self) -> None:
        """Removes it, and those of other runs of the same name for the same results."""
        for folder in [self.path, *self._list_others()]:
            shutil.rmtree(folder, ignore_errors=True)

    def _list_others(self) -> dict[Path, dict[str, Any]]:
        """Folders of runs for the same results that differ in something else, and their keys."""
        others = {}
        for path in self.root.glob(f"{self.name}-*/key.json"):
            key = _read_key(path)
            if path.parent != self.path and key.get("out") == self.key["out"]:
                others[path.parent] = key
        return others


def _read_key(path: Path) -> dict[str, Any]:
    """The key in a file; empty where there is none that can be read."""
    try:
        key = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return key if isinstance(key, dict) else {}


def list_differences(old: Any, new: Any, name: str = "") -> list[str]:
    """Names of the values that differ, such as `settings.optimizer.lr`."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [name] if old != new else []
    prefix = f"{name}." if name else ""
    return [
        changed
        for key in sorted({*old, *new})
        for changed in list_differences(old.get(key), new.get(key), f"{prefix}{key}")
    ]
