"""Optuna's journal on disk: one file, to which each step of each trial is appended."""

from pathlib import Path
from typing import Any

import optuna
from optuna import Study
from optuna.pruners import MedianPruner
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from features.core.files import name_place
from features.errors import IntegrityError

STARTUP = 5
"""Finished trials before any is pruned."""


class _Journal(JournalFileBackend):
    """Says of a full disk which file it was."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with name_place(self._path):
            super().append_logs(logs)


def open_study(path: Path, key: str) -> Study:
    """The study of this key in the journal, which may hold others; made if it is not there.

    For whoever holds the journal's folder: a lock of Optuna's is what a kill left, and goes.
    Median rule and no Hyperband: a trial has but five to ten steps, all of the same cost, and
    Hyperband would share the few trials out to brackets that learn nothing from each other.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    _cut_torn_line(path)
    try:
        storage = JournalStorage(_Journal(path))
        return optuna.create_study(
            study_name=key,
            storage=storage,
            load_if_exists=True,
            direction="maximize",
            pruner=MedianPruner(n_startup_trials=STARTUP),
        )
    except (ValueError, KeyError, TypeError) as error:
        advice = "Remove it and tune again, or name another folder: --out DIR"
        raise IntegrityError(path, f"no journal of trials ({error!r})", advice) from error


def _cut_torn_line(path: Path) -> None:
    """Drops what a power cut or a full disk left of the last line: nothing could follow it."""
    if not path.is_file():
        return
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        with open(path, "rb+") as file:
            file.truncate(content.rfind(b"\n") + 1)
