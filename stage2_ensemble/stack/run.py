"""What `python -m stage2_ensemble.stack` does.

ensemble = run(load_params(StackParams), out=Path("trials/stackers"))
ensemble.shipped                                 # greedy
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from features.artifacts.outside import locate_outside
from features.core.manifest import Ids, count_classes, read_manifest
from features.core.number_text import format_figure
from features.runtime.progress import show_progress
from features.settings.stacking import Gate, Stack, StackParams
from stage2_ensemble.columns.columns import (
    CalibrationColumns,
    Floats,
    FoldColumns,
    HeldOutColumns,
    read_held_out,
    read_train_columns,
)
from stage2_ensemble.columns.extras import FileCodes, learn_file_codes, read_extras
from stage2_ensemble.columns.tiers import FoldTiers, TierColumns, read_fold_tiers, take_tier
from stage2_ensemble.decisions.poolings import choose_pooling
from stage2_ensemble.decisions.rules import DecisionRules, fit_rules
from stage2_ensemble.decisions.scored_rows import ChoiceRows, RowScores
from stage2_ensemble.decisions.units import (
    Pooling,
    TrainUnits,
    describe_train,
    merge_choice_rows,
    merge_rows,
)
from stage2_ensemble.fitted.bundle import write_ensemble
from stage2_ensemble.fitted.ensemble import SecondStage, average_scores
from stage2_ensemble.gate.differences import measure_fold_aucs
from stage2_ensemble.gate.gate import check_ship, choose_shipped, describe_choice, hold_gate
from stage2_ensemble.gate.out_of_fold import Judged, Scores, judge_candidates
from stage2_ensemble.gate.without import leave_backbones_out
from stage2_ensemble.models.candidates import Model, fit_candidates, list_fittable

MANIFEST = Path("artifacts/manifest")
DUMPS = Path("artifacts/dumps")
FORENSICS = Path("artifacts/forensics")
TIERS = Path("artifacts/tiers")
OUT = Path("artifacts/stackers")
ChoiceColumns = FoldColumns | CalibrationColumns | TierColumns
"""Labelled rows of train."""
_log = logging.getLogger("forgerystack")


@dataclass(frozen=True)
class TargetRows:
    """The rows to be labelled that can be read: one `columns` per active fold."""

    columns: Sequence[HeldOutColumns]
    groups: Ids
    units: Ids

    def score(self, model: Model) -> RowScores:
        """With the log-odds of this model."""
        log_odds = average_scores(model, self.columns)
        return RowScores(row_ids=self.columns[0].row_ids, log_odds=log_odds, groups=self.groups)

    def merge(self, scored: RowScores, pooling: Pooling) -> RowScores:
        """Their units, `scored` being all of the rows."""
        return merge_rows(scored, self.units, pooling)


def fit_ensemble(
    folds: Sequence[FoldColumns],
    calibration: Sequence[CalibrationColumns],
    params: StackParams,
    train_digest: str,
    train_share: float,
    targets: TargetRows | None = None,
    file_codes: FileCodes | None = None,
    units: TrainUnits | None = None,
    tiers: Sequence[FoldTiers] = (),
) -> SecondStage:
    """Judges every candidate, fits it on all fold rows, and decides what ships.

    With calibration rows, rules are chosen on the ensemble's own scores of them: a mean of
    several models is distributed unlike one of them. Without, on out-of-fold scores. `train_share`:
    of fakes in train. `targets` serve `label.prior: estimate` alone. With `units` there are
    rules of units, too. `tiers`: of each fold rows as they come back from the web, for
    `decision.tiers`; nothing but thresholds follows from them.
    """
    settings, seed, wanted = params.stack, params.seed, params.gate.ship
    names = list_fittable(folds, settings)
    check_ship(wanted, names)
    judged = _judge(folds, settings, seed, tiers)
    verdicts = hold_gate(folds, judged, settings, params.gate, seed)
    models, best = fit_candidates(names, folds, settings, seed)
    gate_choice = choose_shipped(verdicts, best.name)
    shipped = gate_choice if wanted == "auto" else wanted
    rows = _gather_scored(folds, calibration, judged.scores, models, train_share)
    scored = targets.score(models[shipped]) if targets else None
    damaged = {
        tier: _gather_scored(*take_tier(tiers, tier), out_of_fold, models, train_share)
        for tier, out_of_fold in judged.tiers.items()
    }
    fitting = (shipped, params.decision, params.label)
    rules = fit_rules(rows, *fitting, train_share, scored, seed, damaged)
    pooling = unit_rules = None
    if units:
        of_shipped = {shipped: np.concatenate(judged.scores[shipped])}
        own = _gather_rows(folds, of_shipped, train_share)[shipped]
        pooling = choose_pooling(params.label, own, units)
        merged = targets.merge(scored, pooling.chosen) if targets and scored else None
        unit_rules = _fit_unit_rules(rows, units, pooling.chosen, merged, shipped, params)
    return SecondStage(
        backbones=folds[0].backbones,
        folds=tuple(columns.fold for columns in folds),
        train_digest=train_digest,
        digests={columns.fold: columns.digests for columns in folds},
        shipped=shipped,
        gate_choice=gate_choice,
        models=models,
        oof_auc={name: measure_fold_aucs(folds, judged.scores[name]) for name in models},
        picks=judged.picks,
        verdicts=tuple(verdicts),
        rules=rules,
        rule_rows="calibration" if len(calibration[0]) else "out-of-fold",
        file_codes=file_codes,
        unit_rules=unit_rules,
        unit_pooling=pooling,
        without=leave_backbones_out(folds, shipped, settings, seed),
    )


def _judge(
    folds: Sequence[FoldColumns], settings: Stack, seed: int, tiers: Sequence[FoldTiers]
) -> Judged:
    parts = settings.repeats * settings.inner_folds
    with show_progress("judge candidates", parts, "parts of the rows") as meter:
        inside = [own.inside for own in tiers]
        return judge_candidates(folds, settings, seed, meter.advance, inside)


def _fit_unit_rules(
    rows: Mapping[str, ChoiceRows],
    units: TrainUnits,
    pooling: Pooling,
    targets: RowScores | None,
    shipped: str,
    params: StackParams,
) -> DecisionRules | None:
    """Rules on each scorer's rows by unit; `None` if any scorer lacks units of a class."""
    merged = {}
    for name, choice_rows in rows.items():
        found = merge_choice_rows(choice_rows, units, pooling)
        if found is None:
            return None
        merged[name] = found
    settings = (shipped, params.decision, params.label)
    return fit_rules(merged, *settings, units.share, targets, params.seed)


def _gather_scored(
    inside: Sequence[ChoiceColumns],
    calibration: Sequence[ChoiceColumns],
    out_of_fold: Scores,
    models: Mapping[str, Model],
    train_share: float,
) -> dict[str, ChoiceRows]:
    """Each scorer's rows: a candidate's calibration rows with the ensemble's own scores, if there
    are any, or else its fold rows with out-of-fold ones; a member's fold rows.
    """
    if len(calibration[0]):
        scores = {name: average_scores(model, calibration) for name, model in models.items()}
        rows = _gather_rows(calibration[:1], scores, train_share)
    else:
        scores = {name: np.concatenate(out_of_fold[name]) for name in models}
        rows = _gather_rows(inside, scores, train_share)
    return rows | _gather_members(inside, train_share)


def _gather_members(folds: Sequence[ChoiceColumns], train_share: float) -> dict[str, ChoiceRows]:
    """Each member's fold rows, which it did not learn from."""
    rows: dict[str, ChoiceRows] = {}
    for columns in folds:
        names = [f"{backbone}-{columns.fold}" for backbone in columns.backbones]
        scores = dict(zip(names, columns.logits.T, strict=True))
        rows |= _gather_rows([columns], scores, train_share)
    return rows


def _gather_rows(
    parts: Sequence[ChoiceColumns],
    scores: Mapping[str, Floats],
    train_share: float,
) -> dict[str, ChoiceRows]:
    """The rows of all parts with each scorer's log-odds, at the class shares of train.

    Without those that it has not scored.
    """
    values = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("row_ids", "groups", "labels", "weights")
    }
    found = {}
    for name, log_odds in scores.items():
        known = ~np.isnan(log_odds)
        own = {key: value[known] for key, value in values.items()}
        found[name] = ChoiceRows(log_odds=log_odds[known], **own).at_prior(train_share)
    return found


def run(params: StackParams, dumps: Path = DUMPS, out: Path = OUT) -> SecondStage:
    """Reads the train manifest and the dumps of params' members, fits, writes the bundle."""
    train = read_manifest(MANIFEST, "train")
    codes = learn_file_codes(train) if params.stack.use_file_facts else None
    extras = read_extras(FORENSICS, train, codes)
    members = (params.names, params.folds.active)
    outside = locate_outside(params.outside)
    far = params.stack.is_spread
    columns = read_train_columns(dumps, train, *members, extras, outside, far)
    folds, calibration = [pair[0] for pair in columns], [pair[1] for pair in columns]
    reals, fakes = count_classes(train.labels)
    share = fakes / (reals + fakes)
    targets = _read_targets(params, dumps, train.digest, codes)
    units, chosen = describe_train(train), params.decision.tiers
    tiers = [read_fold_tiers(TIERS, train, own, chosen, codes) for own in folds] if chosen else []
    ensemble = fit_ensemble(
        folds, calibration, params, train.digest, share, targets, codes, units, tiers
    )
    write_ensemble(ensemble, out)
    _log_choice(ensemble, params.gate)
    _log_rules(ensemble.rules, ensemble)
    if train.has_units:
        _log_units(ensemble, units)
    return ensemble


def _read_targets(
    params: StackParams, dumps: Path, train_digest: str, codes: FileCodes | None
) -> TargetRows | None:
    """The test rows, where their share of fakes is to be estimated and there are any."""
    if params.label.prior != "estimate":
        return None
    test = read_manifest(MANIFEST, "test")
    if not len(test):
        return None
    members = (params.names, params.folds.active, train_digest)
    extras, outside = read_extras(FORENSICS, test, codes), locate_outside(params.outside)
    columns = read_held_out(dumps, test, *members, extras, outside)
    row_ids = columns[0].row_ids
    return TargetRows(columns, test.groups[row_ids], test.units[row_ids])


def _log_choice(ensemble: SecondStage, gate: Gate) -> None:
    for name, by_fold in ensemble.oof_auc.items():
        ships = "  <- ships" if name == ensemble.shipped else ""
        _log.info(
            "stack: out-of-fold AUC %s %s%s", format_figure(float(np.mean(by_fold))), name, ships
        )
    if gate.rows == "untuned":
        _log.info("gate: decided by the half of the fold rows that chose no settings")
    for verdict in ensemble.verdicts:
        _log.info("gate: AUC against the best simple combiner, %s", verdict.describe())
    choice = (ensemble.verdicts, ensemble.gate_choice, ensemble.shipped)
    for sentence in describe_choice(*choice):
        _log.info("gate: %s", sentence)


def _log_units(ensemble: SecondStage, units: TrainUnits | None) -> None:
    pooling = ensemble.unit_pooling
    if units is None or pooling is None or ensemble.unit_rules is None:
        _log.info("stack: no rules of units: too few of them have rows of one class only")
        return
    note = f", without {units.mixed} of both classes" if units.mixed else ""
    _log.info("stack: by unit%s: %s", note, pooling.describe())
    _log_rules(ensemble.unit_rules, ensemble)


def _log_rules(rules: DecisionRules, ensemble: SecondStage) -> None:
    rule = rules.scorers[ensemble.shipped]
    calibration, threshold = rule.calibration, rule.threshold
    _log.info(
        "stack: calibration on %s rows: %s (%s); ECE there %s before, %s after",
        ensemble.rule_rows, calibration.calibrator.name, calibration.reason,
        format_figure(calibration.ece_before), format_figure(calibration.ece_after),
    )  # fmt: skip
    _log.info("stack: share of fakes %s: %s", format_figure(rules.prior.value), rules.prior.reason)
    place = format_figure(threshold.value, threshold.low, threshold.high)
    note = f"; {threshold.note}" if threshold.note else ""
    where = f" in the worst of clean, {', '.join(threshold.tiers)}" if threshold.tiers else ""
    _log.info("stack: threshold %s by %s%s%s", place, threshold.policy, where, note)
    if rules.band:
        _log.info(
            "stack: review promises that %g of each class are called wrong at most",
            rules.band.alpha,
        )
