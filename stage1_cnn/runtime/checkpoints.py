"""Saved states of a training that may be cut off.

A run's folder (`features.runtime.run_folder`) holds the two latest ones, `<step>-<sha256>.pt`. A
state that is damaged is removed: it would push out good ones of earlier steps.
"""

import io
import logging
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from features.core.files import digest_bytes, digest_file, write_atomic

KEPT = 2
"""States that are kept: the latest one may turn out damaged."""
_log = logging.getLogger("forgerystack")


@dataclass(frozen=True)
class Checkpoints:
    """The states of one run, in its folder."""

    folder: Path

    def load(self) -> dict[str, Any] | None:
        """The latest state that is whole; `None` where there is none."""
        for path in reversed(self._list_states()):
            if digest_file(path).startswith(path.stem.partition("-")[2]):
                try:
                    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
                    return state
                except (pickle.UnpicklingError, RuntimeError, EOFError):
                    pass  # no state of ours, whatever its name says
            _log.warning("%s is damaged and passed over", path)
            path.unlink()
        return None

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Writes a state, whole or not at all, and lets the oldest one go."""
        # In memory first: torch's writer would report a full disk as a bug of its own.
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getbuffer()
        path = self.folder / f"{step:09d}-{digest_bytes(content)[:32]}.pt"
        with write_atomic(path) as file:
            file.write(content)
        for old in self._list_states()[:-KEPT]:
            old.unlink()

    def _list_states(self) -> list[Path]:
        return sorted(self.folder.glob("*-*.pt"))
