"""The fitted second stage as a whole: candidates, what ships, how scores are read.

ensemble = read_ensemble(Path("artifacts/stackers"))
ensemble.score(ensemble.shipped, columns)        # (n,) log-odds
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import numpy as np

from features.errors import AlignmentError, StaleArtifactError
from stage2_ensemble.columns.columns import Floats, MemberColumns
from stage2_ensemble.columns.extras import FileCodes
from stage2_ensemble.decisions.poolings import PoolingChoice
from stage2_ensemble.decisions.rules import DecisionRules
from stage2_ensemble.decisions.units import Pooling
from stage2_ensemble.gate.gate import Verdict
from stage2_ensemble.gate.without import Without
from stage2_ensemble.models.candidates import Model


@dataclass(frozen=True)
class SecondStage:
    """What `stack` ships. Scores are log-odds of fake at the class shares of train."""

    backbones: tuple[str, ...]
    folds: tuple[int, ...]
    train_digest: str
    digests: Mapping[int, tuple[str, ...]]
    """sha256 of each fold's members, in the order of `backbones`."""
    shipped: str
    gate_choice: str
    """What ships unless `gate.ship` names something."""
    models: Mapping[str, Model]
    """What may ship, from simple to complex."""
    oof_auc: Mapping[str, list[float]]
    """Out-of-fold AUC of each candidate, by fold."""
    picks: Mapping[str, int]
    """How often each simple combiner was the best one of a training split."""
    verdicts: tuple[Verdict, ...]
    """Of the gate, on each candidate that is not simple."""
    rules: DecisionRules
    """Of each candidate, and of each member as `<backbone>-<fold>`."""
    rule_rows: Literal["calibration", "out-of-fold"]
    """Which rows the candidates' rules were chosen on."""
    file_codes: FileCodes | None = None
    """Values of file facts at the fit, where models see them."""
    without: Mapping[str, Without] = field(default_factory=dict)
    """By backbone, what is lost without it; empty where there is one alone."""
    unit_rules: DecisionRules | None = None
    """Of the same scorers, for units in place of rows, where train has units."""
    unit_pooling: PoolingChoice | None = None
    """What their scores are pooled by."""

    @property
    def pooling(self) -> Pooling:
        """Of units; the mean where train has none."""
        return self.unit_pooling.chosen if self.unit_pooling else Pooling()

    def choose_rules(self, is_unit: bool) -> DecisionRules:
        """Those that read rows, or units; of units the same where train has none."""
        return self.unit_rules if is_unit and self.unit_rules is not None else self.rules

    def at_share(self, share: float) -> Self:
        """The same labels, with probabilities where a share of rows, and of units, is fake.

        Raises `ConfigError` where another share would have other thresholds.
        """
        units = self.unit_rules and self.unit_rules.at_share(self.shipped, share)
        return replace(self, rules=self.rules.at_share(self.shipped, share), unit_rules=units)

    def score(self, name: str, columns: Sequence[MemberColumns]) -> Floats:
        """`(n,)` scores of one candidate as they come: the mean of its log-odds over the folds.

        `columns`: one per active fold, all on the same rows. Raises `AlignmentError`, or
        `StaleArtifactError` for members that were trained again since the fit.
        """
        check_same_rows(columns)
        found = tuple(c.fold for c in columns)
        if found != self.folds:
            raise AlignmentError("folds of ensemble and dumps", found, self.folds)
        for c in columns:
            self._check_members(c)
        return average_scores(self.models[name], columns)

    def score_all(self, columns: Sequence[MemberColumns]) -> dict[str, Floats]:
        """`(n,)` log-odds of every member and every candidate as they come."""
        scores = {
            f"{backbone}-{c.fold}": c.logits[:, i]
            for c in columns
            for i, backbone in enumerate(c.backbones)
        }
        scores.update({name: self.score(name, columns) for name in self.models})
        return scores

    def read_all(self, columns: Sequence[MemberColumns]) -> dict[str, Floats]:
        """`score_all`, as `rules.read` gives them."""
        return self.rules.read_all(self.score_all(columns))

    def _check_members(self, columns: MemberColumns) -> None:
        if columns.backbones != self.backbones:
            raise AlignmentError("backbones", columns.backbones, self.backbones)
        fitted = self.digests[columns.fold]
        if columns.digests != fitted:
            names = [", ".join(d[:8] for d in digests) for digests in (fitted, columns.digests)]
            raise StaleArtifactError("the ensemble", f"members {names[0]}", names[1], "stack")


def average_scores(model: Model, columns: Sequence[MemberColumns]) -> Floats:
    """`(n,)` mean over the folds of a model's log-odds of the same rows."""
    return np.asarray(np.mean([model.score(c) for c in columns], axis=0))


def check_same_rows(columns: Sequence[MemberColumns]) -> None:
    """Raises `AlignmentError` unless all columns stand for the same rows in the same order."""
    for other in columns[1:]:
        if not np.array_equal(columns[0].row_ids, other.row_ids):
            raise AlignmentError(
                f"rows of folds {columns[0].fold} and {other.fold}", len(other), len(columns[0])
            )


def check_members(ensemble: SecondStage, backbones: Sequence[str], folds: Sequence[int]) -> None:
    """Raises `StaleArtifactError` if the ensemble was fitted on other members than are wanted.

    Their order is the ensemble's own; DVC, too, sees no change in params that change places.
    """
    found = f"backbones {', '.join(sorted(ensemble.backbones))}, folds {sorted(ensemble.folds)}"
    wanted = f"backbones {', '.join(sorted(backbones))}, folds {sorted(folds)}"
    if found != wanted:
        raise StaleArtifactError("the ensemble", found, wanted, "stack")
