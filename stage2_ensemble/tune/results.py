"""What tuning found, and what the rows that it never looked at say about it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from optuna import Study
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from features.core.manifest import count_classes
from features.core.number_text import NO_VALUE, format_difference, format_figure, format_percent
from features.runtime.progress import show_progress
from features.settings.stacking import Gate, Stack
from stage2_ensemble.columns.columns import FoldColumns
from stage2_ensemble.columns.tuning_half import mark_untuned
from stage2_ensemble.gate.differences import Gain, compare_fold_aucs
from stage2_ensemble.gate.gate import RISK, Verdict, hold_gate
from stage2_ensemble.gate.out_of_fold import judge_candidates
from stage2_ensemble.measures.resampling import LEAST_GROUPS
from stage2_ensemble.tune.search import AUCS, PRESENT, SETTINGS, VALUES, TuningTask, list_done

SHOWN = 8
LEAST_FINISHED = 10
"""Finished trials from which on the importance of a setting is estimated."""


@dataclass(frozen=True)
class Attempt:
    """One trial that ended."""

    place: int
    candidate: str
    is_present: bool
    values: Mapping[str, Any]
    """All settings."""
    auc: float
    gain: float
    """AUC minus that of the present settings (of the first candidate), on the same splits."""
    splits: int
    pruned: bool
    seconds: float


@dataclass(frozen=True)
class Judgement:
    """The tuned settings on rows that tuning never looked at."""

    reals: int
    fakes: int
    groups: int
    """Of the class that has fewer of them, in the fold that has fewest."""
    against_present: Gain
    against_simple: Verdict
    """The gate of `stack`, with `gate.rows: untuned`."""

    def to_json(self) -> dict[str, Any]:
        """As it stands in JSON files."""
        return asdict(self) | {"against_simple": self.against_simple.to_json()}

    @property
    def is_worse(self) -> bool:
        """Whether tuned settings are worse than the present ones, as far as can be told."""
        return self.against_present.high < 0 and self.groups >= LEAST_GROUPS


def list_attempts(study: Study) -> list[Attempt]:
    """Trials in the order in which they were made."""
    done = list_done(study)
    return [_read_attempt(place, trial, done[0]) for place, trial in enumerate(done)]


def _read_attempt(place: int, trial: FrozenTrial, first: FrozenTrial) -> Attempt:
    aucs, baseline = trial.user_attrs[AUCS], first.user_attrs[AUCS]
    duration = trial.duration
    return Attempt(
        place=place,
        candidate=trial.params["candidate"],
        is_present=PRESENT in trial.user_attrs,
        values=trial.user_attrs[VALUES],
        auc=float(np.mean(aucs)),
        gain=float(np.mean(aucs) - np.mean(baseline[: len(aucs)])),
        splits=len(aucs),
        pruned=trial.state == TrialState.PRUNED,
        seconds=duration.total_seconds() if duration else 0.0,
    )


def rank_attempts(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Those that were not pruned, the best first; of equals the earlier, so the present ones."""
    return sorted((a for a in attempts if not a.pruned), key=lambda a: (-a.gain, a.place))


def measure_importance(study: Study, seed: int) -> dict[str, float]:
    """Share of each setting in how results differ (fANOVA, Hutter et al., ICML 2014).

    Empty where too few trials are finished, or all of them came to the same.
    """
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(finished) < LEAST_FINISHED or len({t.value for t in finished}) < 2:
        return {}
    found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed))
    return {name: float(share) for name, share in found.items()}


def judge_tuned(
    folds: Sequence[FoldColumns], task: TuningTask, candidate: str, tuned: Stack, gate: Gate
) -> Judgement:
    """Tuned against present settings, and against the best simple combiner.

    Both are fitted as `stack` fits them, on all fold rows but those of the split that is scored;
    only scores of rows that tuning never looked at count.
    """
    masks = mark_untuned(folds)
    both = [s.model_copy(update={"candidates": (candidate,)}) for s in (tuned, task.settings)]
    fits = sum(s.repeats * s.inner_folds for s in both)
    with show_progress("judge what was tuned", fits, "splits of the rows") as meter:
        own, before = (judge_candidates(folds, s, task.seed, meter.advance) for s in both)
    pair = own.scores[candidate], before.scores[candidate]
    gain = compare_fold_aucs(folds, *pair, RISK / 2, task.seed, masks)
    strict = gate.model_copy(update={"rows": "untuned"})
    (verdict,) = hold_gate(folds, own, tuned, strict, task.seed)
    labels = np.concatenate([c.labels[mask] for c, mask in zip(folds, masks, strict=True)])
    return Judgement(*count_classes(labels), verdict.groups, gain, verdict)


def describe_findings(best: Attempt, trials: int, judged: Judgement | None) -> list[str]:
    """Whether tuning changed anything that can be told, in sentences."""
    if judged is None:
        return [f"Nothing to change: the present settings are the best of {trials} trials."]
    gain = judged.against_present
    if judged.groups < LEAST_GROUPS:
        said = f"not to be relied on, as a class has but {judged.groups} groups there."
    elif gain.low > 0:
        said = "tuned is better."
    elif judged.is_worse:
        said = "tuned is worse: the present settings stay."
    else:
        said = "these rows cannot tell them apart."
    return [
        f"On the half that it was tuned on, {best.candidate} gains "
        f"{format_difference(best.gain)} AUC: flattered, as the best of {trials} trials.",
        f"On the other half ({judged.reals} reals, {judged.fakes} fakes), tuned minus present: AUC "
        f"{format_difference(gain.difference, gain.low, gain.high)}: {said}",
        "There, tuned against the best simple combiner, as the gate of stack will see it: "
        f"{judged.against_simple.describe()}.",
    ]


def build_tuning_facts(
    task: TuningTask,
    attempts: Sequence[Attempt],
    importance: Mapping[str, float],
    judged: Judgement | None,
    changes: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything, for the JSON file."""
    best = rank_attempts(attempts)[0]
    reals, fakes = count_classes(np.concatenate([columns.labels for columns in task.folds]))
    return {
        "candidate": best.candidate,
        "present": {name: getattr(task.settings, name) for name in SETTINGS},
        "tuned": dict(best.values),
        "changes": dict(changes),
        "trials": {
            "finished": sum(not a.pruned for a in attempts),
            "pruned": sum(a.pruned for a in attempts),
            "seconds": round(sum(a.seconds for a in attempts), 3),
        },
        "tuned_on": {"reals": reals, "fakes": fakes, "splits": len(task.splits)},
        "judged": judged.to_json() if judged else None,
        "findings": describe_findings(best, len(attempts), judged),
        "importance": dict(importance),
        "attempts": [asdict(a) for a in attempts],
    }


def print_tables(
    task: TuningTask, attempts: Sequence[Attempt], importance: Mapping[str, float], console: Console
) -> None:
    """The best trials and the settings, readable in 80 columns."""
    ranked = rank_attempts(attempts)
    pruned = len(attempts) - len(ranked)
    seconds = sum(a.seconds for a in attempts)
    title = f"{len(ranked)} trials finished, {pruned} pruned, {seconds:.0f} s"
    table = Table("trial", "AUC", "gain", "settings", title=title, box=SIMPLE, padding=0)
    for attempt in ranked[:SHOWN]:
        found = format_figure(attempt.auc), format_difference(attempt.gain)
        table.add_row(str(attempt.place), *found, _describe_settings(task, attempt))
    console.print(table)
    headers = ("setting", "present", "tuned", "importance")
    settings = Table(*headers, title="Settings", box=SIMPLE, padding=0)
    for name in SETTINGS:
        share = format_percent(importance[name]) if name in importance else NO_VALUE
        values = str(getattr(task.settings, name)), str(ranked[0].values[name])
        settings.add_row(name, *values, share)
    console.print(settings)


def _describe_settings(task: TuningTask, attempt: Attempt) -> str:
    """`lightgbm, num_leaves 31`: those that differ from the present ones."""
    if attempt.is_present:
        return f"{attempt.candidate}, as at present"
    changed = [
        f"{name} {value}"
        for name, value in attempt.values.items()
        if value != getattr(task.settings, name)
    ]
    return ", ".join([attempt.candidate, *changed])
