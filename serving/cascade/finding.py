"""The rules of a cascade and what each of them loses.

(Viola and Jones, "Rapid object detection using a boosted cascade", CVPR 2001; early exits by
confidence: Teerapittayanon et al., "BranchyNet", ICPR 2016.) A row that stops early gets the score
of the networks that were asked, calibrated by themselves: it stays comparable with the others.

    cascade = find_cascade(rows, second_stage, members)
    cascade.find_rule(max_loss=0.001)
"""

from collections.abc import Iterator, Sequence

import numpy as np

from serving.cascade.rows import CascadeRows
from serving.format.cascade import JOINED, CascadeFacts, CascadeRule, CascadeStep
from serving.format.facts import MemberFacts, RateFacts
from serving.scoring.needs import find_needs
from stage2_ensemble.columns.columns import Floats
from stage2_ensemble.decisions.calibration import Calibration, choose_calibration, cross_calibrate
from stage2_ensemble.decisions.scored_rows import ChoiceRows, LabelledRows, ValRows
from stage2_ensemble.fitted.ensemble import SecondStage
from stage2_ensemble.measures.metrics import measure_scores
from stage2_ensemble.measures.resampling import (
    LEAST_GROUPS,
    Groups,
    Resamples,
    find_paired_bounds,
    index_groups,
    measure_resamples,
)

STOPPED = tuple(np.round(np.arange(0.2, 1.01, 0.05), 2).tolist())
"""Shares of rows that the margins which are tried stop: below a fifth nothing worth it is saved."""
RESAMPLES = 400
METRICS = ("auc", "balanced_accuracy")
Unit = tuple[str, ...]
"""Backbones that are one network."""


def find_cascade(
    rows: CascadeRows[ChoiceRows],
    second_stage: SecondStage,
    members: Sequence[MemberFacts],
    val: CascadeRows[ValRows] | None = None,
) -> CascadeFacts:
    """All rules worth a choice, and the steps that they ask; on `val` they are measured alone."""
    needed = find_needs(second_stage, second_stage.shipped).backbones
    costs = _count_costs([facts for facts in members if facts.backbone in needed])
    if len(costs) < 2:
        reason = f"{second_stage.shipped} asks {' and '.join(needed)} alone"
        more = ", which are one network" if len(needed) > 1 else ""
        return CascadeFacts(reason=reason + more)
    groups = index_groups(rows.shipped.labels, rows.shipped.groups)
    if not groups.reliable:
        reason = f"{groups.least} groups of a class: a promise needs {LEAST_GROUPS}"
        return CascadeFacts(reason=reason)
    units = sorted(costs, key=lambda unit: (costs[unit], unit))
    threshold = second_stage.rules.scorers[second_stage.shipped].threshold.value
    judge = _Judge(rows.shipped, threshold, groups)
    steps, rules = [], []
    for count in range(1, len(units)):
        first = _list_backbones(units[:count])
        mean = np.mean([rows.backbones[name] for name in first], axis=0)
        own = rows.shipped.with_log_odds(mean)
        calibration = choose_calibration(own)
        steps.append(CascadeStep(backbones=first, calibration=calibration.to_json()))
        held_out = cross_calibrate(own, calibration.calibrator.name).log_odds
        asked = sum(costs[unit] for unit in units[:count]) / sum(costs.values())
        rules += [*judge.try_margins(count - 1, held_out, asked)]
    return CascadeFacts(
        rows=len(rows.shipped),
        order=_list_backbones(units),
        operations={JOINED.join(unit): costs[unit] for unit in units},
        steps=tuple(steps),
        rules=tuple(_measure_on_val(rule, steps, val, threshold) for rule in keep_best(rules)),
    )


def _count_costs(members: Sequence[MemberFacts]) -> dict[Unit, int]:
    """Operations of all members, by backbones that lie in the same files: to ask one is to ask
    all, at one cost."""
    files: dict[str, list[str]] = {}
    for facts in members:
        files.setdefault(facts.backbone, []).append(facts.file)
    units: dict[frozenset[str], list[str]] = {}
    for name, own in files.items():
        units.setdefault(frozenset(own), []).append(name)
    networks = {facts.file: facts.operations for facts in members}
    return {tuple(unit): sum(networks[file] for file in own) for own, unit in units.items()}


def _list_backbones(units: Sequence[Unit]) -> tuple[str, ...]:
    return tuple(name for unit in units for name in unit)


def _measure_on_val(
    rule: CascadeRule,
    steps: Sequence[CascadeStep],
    val: CascadeRows[ValRows] | None,
    threshold: float,
) -> CascadeRule:
    if val is None:
        return rule
    step = steps[rule.step]
    mean = np.mean([val.backbones[name] for name in step.backbones], axis=0)
    log_odds = Calibration.from_json(step.calibration).apply(mean)
    judge = _Judge(val.shipped, threshold, index_groups(val.shipped.labels, val.shipped.groups))
    auc_loss, accuracy_loss = judge.compare(judge.mix(log_odds, rule.margin))
    return rule.model_copy(update={"val_auc_loss": auc_loss, "val_accuracy_loss": accuracy_loss})


class _Judge:
    """What ships, against the same with rows that stop early."""

    def __init__(self, shipped: LabelledRows, threshold: float, groups: Groups) -> None:
        self.shipped, self.threshold, self.groups = shipped, threshold, groups
        self.values, self.resamples = self._measure(shipped.log_odds)

    def try_margins(self, step: int, log_odds: Floats, asked: float) -> Iterator[CascadeRule]:
        """`log_odds` `(n,)` of the step; `asked`: its share of all operations."""
        distance = np.abs(log_odds - self.threshold)
        margins = dict.fromkeys(float(np.quantile(distance, 1 - share)) for share in STOPPED)
        for margin in margins:
            stops = distance >= margin
            auc_loss, accuracy_loss = self.compare(self.mix(log_odds, margin))
            yield CascadeRule(
                step=step,
                margin=margin,
                stopped=float(stops.mean()),
                saving=1 / (asked + (1 - asked) * float((~stops).mean())),
                auc_loss=auc_loss,
                accuracy_loss=accuracy_loss,
            )

    def mix(self, log_odds: Floats, margin: float) -> Floats:
        """`log_odds` where they are certain, else those of what ships."""
        stops = np.abs(log_odds - self.threshold) >= margin
        return np.where(stops, log_odds, self.shipped.log_odds)

    def compare(self, log_odds: Floats) -> list[RateFacts]:
        """What they lose of each of `METRICS`."""
        values, resamples = self._measure(log_odds)
        losses = []
        for name in METRICS:
            low, high = find_paired_bounds(name, self.resamples, resamples, self.groups.least)
            losses.append(RateFacts(value=self.values[name] - values[name], low=low, high=high))
        return losses

    def _measure(self, log_odds: Floats) -> tuple[dict[str, float], Resamples]:
        labels = self.shipped.labels
        found = measure_scores(labels, log_odds, self.shipped.groups, self.threshold)
        values = {name: float(found[name] or 0.0) for name in METRICS}
        return values, measure_resamples(labels, log_odds, self.groups, self.threshold, RESAMPLES)


def keep_best(rules: Sequence[CascadeRule]) -> tuple[CascadeRule, ...]:
    """By growing saving, without those that another one equals or betters in both."""
    kept: list[CascadeRule] = []
    for rule in sorted(rules, key=lambda rule: (-rule.saving, rule.promised_loss)):
        if not kept or rule.promised_loss < kept[-1].promised_loss:
            kept.append(rule)
    return tuple(reversed(kept))
