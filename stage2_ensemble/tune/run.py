"""What `python -m stage2_ensemble.tune` does.

run(load_params(TuneParams), budget=SearchBudget(trials=20))["tuned"]
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from optuna import Study

from features.artifacts.outside import locate_outside
from features.core.files import write_json
from features.core.manifest import read_manifest
from features.errors import Stopped
from features.runtime.interruption import Interruption
from features.runtime.locks import hold
from features.runtime.progress import SECONDS, show_progress
from features.runtime.terminal import build_console
from features.settings.sections import PARAMS_FILE, load_params, read_yaml
from features.settings.stacking import Gate, Stack
from stage2_ensemble.columns.columns import FoldColumns, read_train_columns
from stage2_ensemble.columns.extras import learn_file_codes, read_extras
from stage2_ensemble.columns.tuning_half import take_tuning
from stage2_ensemble.tune.journal import open_study
from stage2_ensemble.tune.params_file import write_values
from stage2_ensemble.tune.results import (
    Attempt,
    build_tuning_facts,
    judge_tuned,
    list_attempts,
    measure_importance,
    print_tables,
    rank_attempts,
)
from stage2_ensemble.tune.search import (
    SETTINGS,
    TuningTask,
    build_space,
    choose_candidates,
    drop_unfinished,
    list_done,
    read_settings,
    run_trial,
)
from stage2_ensemble.tune.settings import MINUTES, OUT, TuneParams

MANIFEST = Path("artifacts/manifest")
DUMPS = Path("artifacts/dumps")
FORENSICS = Path("artifacts/forensics")
_log = logging.getLogger("forgerystack")


@dataclass(frozen=True)
class SearchBudget:
    """How long to search, over all runs of the same command."""

    minutes: float = MINUTES
    trials: int | None = None

    @property
    def total(self) -> int:
        """Trials where they are limited, else seconds."""
        return self.trials or round(60 * self.minutes)

    @property
    def unit(self) -> str:
        """Of `total`."""
        return "trials" if self.trials else SECONDS

    def count(self, attempts: Sequence[Attempt]) -> int:
        """How much of `total` is used."""
        return len(attempts) if self.trials else round(sum(a.seconds for a in attempts))

    def allows(self, attempts: Sequence[Attempt]) -> bool:
        """Whether one more trial is wanted, and expected to end in time."""
        if self.trials is not None and len(attempts) >= self.trials:
            return False
        seconds = [attempt.seconds for attempt in attempts]
        return sum(seconds) + float(np.mean(seconds)) <= 60 * self.minutes


def search(study: Study, task: TuningTask, budget: SearchBudget) -> list[Attempt]:
    """Adds trials until the budget is used, the present settings first and in any case."""
    drop_unfinished(study)
    space = build_space(task)
    attempts = list_attempts(study)
    with show_progress("tune", budget.total, budget.unit, budget.count(attempts)) as meter:
        while len(attempts) < len(task.candidates) or budget.allows(attempts):
            run_trial(study, task, space)
            attempts = list_attempts(study)
            _log_attempt(attempts[-1], len(task.splits))
            meter.advance(budget.count(attempts) - meter.done)
    return attempts


def _log_attempt(attempt: Attempt, splits: int) -> None:
    ended = f"pruned after {attempt.splits} of {splits} splits" if attempt.pruned else "finished"
    _log.info(
        "tune: trial %d, %s: AUC %.4f, %+.4f against the present settings, %s in %.1f s",
        attempt.place, attempt.candidate, attempt.auc, attempt.gain, ended, attempt.seconds,
    )  # fmt: skip


def run(
    params: TuneParams,
    out: Path = OUT,
    budget: SearchBudget = SearchBudget(),
    candidate: str | None = None,
    write: bool = False,
) -> dict[str, Any]:
    """Searches, judges, reports; with `write` sets what changed in params.yaml.

    Raises `Stopped` on SIGTERM and Ctrl-C, `LockedError` where another process tunes in `out`.
    """
    with hold(out, Path(params.resume_dir)), Interruption() as interruption:
        interruption.stop_at_once()
        folds = read_folds(params)
        half = take_tuning(folds)
        names = choose_candidates(half, params.stack, candidate)
        task = TuningTask(half, params.stack, names, params.seed)
        study = open_study(out / "trials.journal", task.key)
        try:
            return _report(folds, task, study, search(study, task, budget), params.gate, out, write)
        except Stopped as stop:
            raise Stopped(f"{stop.where} after {len(list_done(study))} trials") from None


def read_folds(params: TuneParams) -> list[FoldColumns]:
    """The fold rows of all active folds, as `stack` reads them."""
    train = read_manifest(MANIFEST, "train")
    codes = learn_file_codes(train) if params.stack.use_file_facts else None
    extras = read_extras(FORENSICS, train, codes)
    members = (params.names, params.folds.active)
    outside, far = locate_outside(params.outside), params.stack.is_spread
    return [own for own, _ in read_train_columns(DUMPS, train, *members, extras, outside, far)]


def _report(
    folds: Sequence[FoldColumns],
    task: TuningTask,
    study: Study,
    attempts: Sequence[Attempt],
    gate: Gate,
    out: Path,
    write: bool,
) -> dict[str, Any]:
    console = build_console()
    best = rank_attempts(attempts)[0]
    importance = measure_importance(study, task.seed)
    print_tables(task, attempts, importance, console)
    tuned = read_settings(task.settings, dict(best.values))
    judged = None if best.is_present else judge_tuned(folds, task, best.candidate, tuned, gate)
    changes = {} if judged is None or judged.is_worse else list_changed_settings(tuned)
    facts = build_tuning_facts(task, attempts, importance, judged, changes)
    for line in (*facts["findings"], *_apply_changes(changes, write)):
        console.print(line, highlight=False, soft_wrap=True)  # to be copied
    write_json(out / "tuning.json", facts)
    console.print(f"All trials: {out / 'tuning.json'}", highlight=False)
    return facts


def list_changed_settings(tuned: Stack) -> dict[str, Any]:
    """What differs in params.yaml, by name; `gate.rows` with it, as half of the rows chose."""
    kept = load_params(TuneParams)
    changes = {
        f"stack.{name}": getattr(tuned, name)
        for name in SETTINGS
        if getattr(tuned, name) != getattr(kept.stack, name)
    }
    return changes if kept.gate.rows == "untuned" else changes | {"gate.rows": "untuned"}


def _apply_changes(changes: Mapping[str, Any], write: bool) -> list[str]:
    """Writes them, or says how to set them."""
    if not changes:
        return []
    named = ", ".join(f"{name}: {value}" for name, value in changes.items())
    if write:
        write_values(changes, PARAMS_FILE)
        return [f"Written to {PARAMS_FILE}: {named}. Go on: dvc repro"]
    values = read_yaml()
    options = []
    for name, value in changes.items():
        section, key = name.split(".")
        plus = "" if key in values[section] else "+"
        options.append(f"-S '{plus}{name}={value}'")
    return [
        f"To set in {PARAMS_FILE} (--write does it): {named}",
        f"Or, as an experiment: dvc exp run {' '.join(options)}",
    ]
