"""What ships, and how its scores are read: decided on rows that no model was fitted on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from features.manifest import Ids
from features.progress import show_progress
from features.stack_params import StackParams
from stage2_ensemble.candidates import Model, fit_candidates, list_candidates
from stage2_ensemble.columns import CalibrationColumns, Floats, FoldColumns, HeldOutColumns
from stage2_ensemble.ensemble import Ensemble, average_scores
from stage2_ensemble.extras import FileCodes
from stage2_ensemble.gate import choose_shipped, hold_gate
from stage2_ensemble.nested import judge_candidates, measure_auc, pick_simple
from stage2_ensemble.readings import fit_readings
from stage2_ensemble.scored_rows import ChoiceRows, ScoredRows
from stage2_ensemble.units import TrainUnits, merge_choice_rows, merge_rows
from stage2_ensemble.without import leave_backbones_out


@dataclass(frozen=True)
class Targets:
    """The rows to be labelled that can be read: one `columns` per active fold."""

    columns: Sequence[HeldOutColumns]
    groups: Ids
    units: Ids

    def score(self, model: Model) -> ScoredRows:
        """With the log-odds of this model."""
        log_odds = average_scores(model, self.columns)
        return ScoredRows(row_ids=self.columns[0].row_ids, log_odds=log_odds, groups=self.groups)


def fit_ensemble(
    folds: Sequence[FoldColumns],
    calibration: Sequence[CalibrationColumns],
    params: StackParams,
    train_digest: str,
    train_share: float,
    targets: Targets | None = None,
    file_codes: FileCodes | None = None,
    units: TrainUnits | None = None,
) -> Ensemble:
    """Judges every candidate, fits it on all fold rows, and decides what ships.

    With calibration rows, readings are chosen on the ensemble's own scores of them: a mean of
    several models is distributed unlike one of them. Without, on out-of-fold scores. `train_share`:
    of fakes in train. `targets` serve `label.prior: estimate` alone. With `units` there are
    readings of units, too.
    """
    settings, seed = params.stack, params.seed
    parts = settings.repeats * settings.inner_folds
    with show_progress("judge candidates", parts, "parts of the rows") as meter:
        judged = judge_candidates(folds, settings, seed, meter.advance)
    verdicts = hold_gate(folds, judged, settings, params.gate, seed)
    shipped = choose_shipped(verdicts, pick_simple(folds, settings, seed).name)
    names = list_candidates(folds, settings)
    models = fit_candidates(names, folds, settings, seed)
    spared = len(calibration[0]) > 0
    if spared:
        scores = {name: average_scores(model, calibration) for name, model in models.items()}
        rows = _gather_rows(calibration[:1], scores, train_share)
    else:
        scores = {name: np.concatenate(judged.scores[name]) for name in models}
        rows = _gather_rows(folds, scores, train_share)
    rows |= _gather_members(folds, train_share)
    scored = targets.score(models[shipped]) if targets else None
    fitting = (shipped, params.decision, params.label)
    readings = fit_readings(rows, *fitting, train_share, scored, seed)
    by_unit = _merge_units(rows, units) if units else None
    unit_readings = None
    if units and by_unit:
        merged = merge_rows(scored, targets.units) if targets and scored else None
        unit_readings = fit_readings(by_unit, *fitting, units.share, merged, seed)
    return Ensemble(
        backbones=folds[0].backbones,
        folds=tuple(columns.fold for columns in folds),
        train_digest=train_digest,
        digests={columns.fold: columns.digests for columns in folds},
        shipped=shipped,
        models=models,
        oof_auc={name: measure_auc(folds, judged.scores[name]) for name in models},
        picks=judged.picks,
        verdicts=tuple(verdicts),
        readings=readings,
        reading_rows="calibration" if spared else "out-of-fold",
        file_codes=file_codes,
        unit_readings=unit_readings,
        without=leave_backbones_out(folds, shipped, settings, seed),
    )


def _merge_units(rows: Mapping[str, ChoiceRows], units: TrainUnits) -> dict[str, ChoiceRows] | None:
    """Each scorer's rows by unit; `None` if any lacks units of a class."""
    merged = {}
    for name, held in rows.items():
        found = merge_choice_rows(held, units)
        if found is None:
            return None
        merged[name] = found
    return merged


def _gather_members(folds: Sequence[FoldColumns], train_share: float) -> dict[str, ChoiceRows]:
    """Each member's fold rows, which it did not learn from."""
    rows: dict[str, ChoiceRows] = {}
    for columns in folds:
        names = [f"{backbone}-{columns.fold}" for backbone in columns.backbones]
        scores = dict(zip(names, columns.logits.T, strict=True))
        rows |= _gather_rows([columns], scores, train_share)
    return rows


def _gather_rows(
    parts: Sequence[FoldColumns] | Sequence[CalibrationColumns],
    scores: Mapping[str, Floats],
    train_share: float,
) -> dict[str, ChoiceRows]:
    """The rows of all parts with each scorer's log-odds, at the class shares of train."""
    row_ids, groups, labels, weights = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("row_ids", "groups", "labels", "weights")
    )
    return {
        name: ChoiceRows(
            row_ids=row_ids, log_odds=log_odds, groups=groups, labels=labels, weights=weights
        ).at_prior(train_share)
        for name, log_odds in scores.items()
    }
