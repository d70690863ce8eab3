"""The search for settings of the LightGBM stacker, on the tuning half of the fold rows alone.

Optuna's TPE proposes, every trial is scored on the same splits of the rows, and hopeless ones end
early. All trials stand in a journal: whoever is killed goes on, and since the seed of a proposal is
a function of how many trials are finished, he finds what he would have found without the kill.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from optuna import Study, Trial
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState

from features.core.files import derive_seed, digest_json
from features.errors import ConfigError, ManifestError
from features.settings.stacking import Stack
from stage2_ensemble.columns.columns import FoldColumns, Mask, count_inner_folds
from stage2_ensemble.gate.differences import measure_fold_aucs
from stage2_ensemble.models.best_simple import split_inner
from stage2_ensemble.models.candidates import fit_candidate, list_fittable

TUNABLE = ("lightgbm", "lightgbm_pca")
"""Candidates that the settings are for; the forest is left as it is."""
RANGES: dict[str, tuple[float, float]] = {
    "learning_rate": (0.01, 0.3),
    "num_leaves": (2, 63),
    "min_data_in_leaf": (5, 200),
    "feature_fraction": (0.1, 1.0),
    "lambda_l2": (0.01, 100.0),
    "pca_components": (4, 128),
}
"""Searched on a log scale; what the settings are at present always lies within."""
CLASS_WEIGHTS = ("balanced", "effective", "none")
SETTINGS = (*RANGES, "class_weight")
DIGITS = 3
"""Significant digits of a setting that is no integer: what is tried is what can be written down."""
LEAST_SPLITS = 3
"""Splits scored before a trial may be pruned: with two, the demo lost good ones to luck."""
PRESENT, AUCS, VALUES = "present", "aucs", "values"
"""What the journal holds of a trial, besides its result: the candidate whose present settings it
is, the AUC of each split, and the settings."""


@dataclass(frozen=True)
class TuningTask:
    """What is tuned, on which rows."""

    folds: Sequence[FoldColumns]
    """The tuning half: no other row gets here."""
    settings: Stack
    """The present ones."""
    candidates: tuple[str, ...]
    seed: int

    @cached_property
    def splits(self) -> list[list[Mask]]:
        """Held-out rows, one mask `(n,)` of every fold for each split: the same for all trials.

        Those that lack a class, or leave none of it to learn from, are left out; raises
        `ManifestError` if none is left.
        """
        count = count_inner_folds(self.folds, self.settings.inner_folds)
        splits = []
        for repeat in range(self.settings.repeats):
            numbers = split_inner(self.folds, count, self.seed + 1000 * repeat)
            splits += [[own == held_out for own in numbers] for held_out in range(count)]
        told = [masks for masks in splits if all(map(_has_both, self.folds, masks))]
        if not told:
            problem = "no split of it has reals and fakes on either side"
            raise ManifestError("half to tune on", [problem])
        return told

    @property
    def key(self) -> str:
        """Of all that a trial's result depends on, but the code."""
        facts = {
            "rows": [columns.row_ids.tolist() for columns in self.folds],
            "labels": [columns.labels.tolist() for columns in self.folds],
            "members": [columns.digests for columns in self.folds],
            "extras": [columns.extra_names for columns in self.folds],
            "settings": self.settings.model_dump(mode="json"),
            "candidates": self.candidates,
            "seed": self.seed,
        }
        return digest_json(facts)[:16]


def _has_both(columns: FoldColumns, mask: Mask) -> bool:
    """Among the rows held out, and among the others."""
    return all(len(np.unique(columns.labels[side])) == 2 for side in (mask, ~mask))


def choose_candidates(
    folds: Sequence[FoldColumns], settings: Stack, wanted: str | None
) -> tuple[str, ...]:
    """`wanted`, or all of `TUNABLE` that are declared and that these rows suffice for.

    Raises `ConfigError` where that leaves none.
    """
    known = [name for name in list_fittable(folds, settings) if name in TUNABLE]
    chosen = [name for name in known if wanted in (None, name)]
    if not chosen:
        found = f"{', '.join(known) or 'none'} of {', '.join(TUNABLE)} can be tuned here"
        advice = "stack.candidates must name it, and its rows must suffice (lightgbm_pca: README)."
        raise ConfigError("--candidate" if wanted else "stack.candidates", [found], advice)
    return tuple(chosen)


def build_space(task: TuningTask) -> dict[str, BaseDistribution]:
    """What may be tried, by the name of the setting, and `candidate`."""
    space: dict[str, BaseDistribution] = {}
    width = max((rows.shape[1] for c in task.folds for rows in c.embeddings), default=0)
    for name, (low, high) in RANGES.items():
        present = getattr(task.settings, name)
        if name == "pca_components":  # no embedding has more
            if not width:
                continue
            high = min(high, width)
        low, high = min(low, high, present), max(high, present)
        if isinstance(present, int):
            space[name] = IntDistribution(int(low), int(high), log=True)
        else:
            space[name] = FloatDistribution(low, high, log=low > 0)
    weights = dict.fromkeys((*CLASS_WEIGHTS, task.settings.class_weight))
    space["class_weight"] = CategoricalDistribution(tuple(weights))
    space["candidate"] = CategoricalDistribution(task.candidates)
    return space


def measure_splits(task: TuningTask, name: str, settings: Stack) -> Iterator[float]:
    """AUC of the rows that each split holds out by a model of the others, the mean over folds.

    Single fits, as the gate judges.
    """
    settings = settings.model_copy(update={"bags": 1})
    for masks in task.splits:
        pairs = list(zip(task.folds, masks, strict=True))
        model = fit_candidate(name, [c.take(~mask) for c, mask in pairs], settings, task.seed)
        out = [columns.take(mask) for columns, mask in pairs]
        yield float(np.mean(measure_fold_aucs(out, [model.score(columns) for columns in out])))


def read_settings(present: Stack, values: dict[str, Any]) -> Stack:
    """`present` with the `values` of a trial, rounded to `DIGITS`."""
    return present.model_copy(
        update={
            name: float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
            for name, value in values.items()
            if name in SETTINGS and value != getattr(present, name)
        }
    )


def run_trial(study: Study, task: TuningTask, space: dict[str, BaseDistribution]) -> FrozenTrial:
    """Asks for settings, scores them, and tells what came of it.

    The result is the AUC minus that of the present settings on the same splits: those differ by
    more than settings do, so AUCs of other splits would hide what the pruner looks for.
    """
    done = list_done(study)
    trial = _ask(study, task, space, done)
    settings = read_settings(task.settings, trial.params)
    trial.set_user_attr(VALUES, {name: getattr(settings, name) for name in SETTINGS})
    baseline = done[0].user_attrs[AUCS] if done else None
    aucs: list[float] = []
    gain = 0.0
    for auc in measure_splits(task, trial.params["candidate"], settings):
        aucs.append(auc)
        gain = float(np.mean(aucs) - np.mean((baseline or aucs)[: len(aucs)]))
        if len(aucs) < len(task.splits) and _is_hopeless(trial, gain, len(aucs)):
            trial.set_user_attr(AUCS, aucs)
            return study.tell(trial, state=TrialState.PRUNED)
    trial.set_user_attr(AUCS, aucs)
    return study.tell(trial, gain)


def _ask(
    study: Study, task: TuningTask, space: dict[str, BaseDistribution], done: Sequence[FrozenTrial]
) -> Trial:
    """The present settings with each candidate come first, then what TPE proposes."""
    study.sampler = TPESampler(seed=derive_trial_seed(task.seed, len(done)), multivariate=True)
    known = [t.user_attrs.get(PRESENT) for t in done]
    missing = [name for name in task.candidates if name not in known]
    if missing and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        present = {name: getattr(task.settings, name) for name in SETTINGS}
        attributes = {PRESENT: missing[0]}
        study.enqueue_trial(present | {"candidate": missing[0]}, user_attrs=attributes)
    return study.ask(fixed_distributions=space)


def _is_hopeless(trial: Trial, gain: float, splits: int) -> bool:
    """The pruner looks at the best of what was reported: the first splits alone are mere luck."""
    if splits < LEAST_SPLITS or PRESENT in trial.user_attrs:
        return False
    trial.report(gain, splits)
    return trial.should_prune()


def drop_unfinished(study: Study) -> None:
    """Gives up trials that a kill left running: their settings are proposed again."""
    for left in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(left.number, state=TrialState.FAIL)


def list_done(study: Study) -> list[FrozenTrial]:
    """Trials that ended, in their order."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def derive_trial_seed(seed: int, done: int) -> int:
    """Of the proposal that follows `done` trials."""
    return derive_seed(seed, "tune", done)
