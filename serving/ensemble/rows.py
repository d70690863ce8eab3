"""What is said of one picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from features.core.manifest import READABLE
from serving.scoring.scorer import SquareScores
from stage2_ensemble.columns.columns import Floats
from stage2_ensemble.decisions.rules import DecisionRules, answer_calibrated
from stage2_ensemble.decisions.units import Pooling, number_units
from stage2_ensemble.fitted.ensemble import SecondStage


@dataclass(frozen=True)
class LabelledPicture:
    """As a line of `labels.csv`."""

    name: str
    score: float
    """Probability of being fake, at the share of fakes that the bundle assumes."""
    label: str
    """`real`, `fake`, or `review`."""
    log_odds: float
    """Of `score`."""
    status: str
    """`ok`, or why it cannot be read: then `score` is the share of fakes that is assumed."""
    members: Mapping[str, float] = field(default_factory=dict)
    """Log-odds of single members, calibrated as `log_odds` is, where they were asked for."""
    asked: str = ""
    """Backbones that saw it, apart by blanks, where dear ones may be spared."""

    @property
    def is_readable(self) -> bool:
        """Whether the score is that of the picture."""
        return self.status == READABLE


def pool_frames(scores: SquareScores, counts: Sequence[int], pooling: Pooling) -> SquareScores:
    """One score for each picture, whose frames have so many squares, one after the other."""
    if all(count == 1 for count in counts):
        return scores
    units = number_units(np.repeat(np.arange(len(counts)), counts))
    members = {name: pooling.pool(units, values) for name, values in scores.members.items()}
    early = scores.early.take(units.first) if scores.early else None
    return SquareScores(pooling.pool(units, scores.log_odds), members, early)


def build_rows(
    second_stage: SecondStage,
    names: Sequence[tuple[str, bool]],
    problems: Sequence[str],
    scores: SquareScores,
    with_members: bool,
) -> list[LabelledPicture]:
    """A row for each of `n` names; `scores` are of those whose problem is empty, in order.

    Beside each name stands whether it is a unit, which the rules of units read where there are any.
    """
    readable = np.array([not problem for problem in problems], bool)
    log_odds, early = np.full((2, len(names)), np.nan)
    log_odds[readable] = scores.log_odds
    asked = np.full(len(names), "", object)
    if scores.early:
        early[readable] = scores.early.log_odds
        asked[readable] = [" ".join(own) for own in scores.early.list_asked()]
    is_unit = np.array([unit for _, unit in names], bool)
    columns = {name: np.empty(len(names), object) for name in ("score", "label", "log_odds")}
    members = {name: np.full(len(names), np.nan) for name in scores.members}
    for rules, chosen in (
        (second_stage.rules, ~is_unit),
        (second_stage.unit_rules or second_stage.rules, is_unit),
    ):
        if chosen.any():
            calibrated = _calibrate(rules, second_stage.shipped, log_odds[chosen], early[chosen])
            answers = answer_calibrated(rules, second_stage.shipped, calibrated)
            for name, values in columns.items():
                values[chosen] = answers[name].to_numpy(object)
            for name, values in rules.read_all(scores.members).items():
                members[name][readable & chosen] = values[chosen[readable]]
    rows = zip(names, *columns.values(), problems, strict=True)
    return [
        LabelledPicture(
            name,
            float(score),
            str(label),
            float(log_odds),
            problem or READABLE,
            {key: float(values[i]) for key, values in members.items()} if with_members else {},
            asked[i],
        )
        for i, ((name, _), score, label, log_odds, problem) in enumerate(rows)
    ]


def _calibrate(rules: DecisionRules, shipped: str, log_odds: Floats, early: Floats) -> Floats:
    """`(n,)` at the class shares of train: `early` where there is any, NaN where there is none."""
    calibrated, late = early.copy(), np.isfinite(log_odds)
    calibrated[late] = rules.scorers[shipped].calibration.apply(log_odds[late])
    return calibrated
