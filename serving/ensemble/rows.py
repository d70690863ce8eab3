"""What is said of one picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from features.core.manifest import READABLE
from serving.scoring.scorer import SquareScores
from stage2_ensemble.columns.columns import Floats
from stage2_ensemble.decisions.rules import answer_calibrated
from stage2_ensemble.models.ensemble import SecondStage


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


def build_rows(
    second_stage: SecondStage,
    names: Sequence[str],
    problems: Sequence[str],
    scores: SquareScores,
    with_members: bool,
) -> list[LabelledPicture]:
    """A row for each of `n` names; `scores` are of those whose problem is empty, in order."""
    readable = np.array([not problem for problem in problems], bool)
    calibrated = np.full(len(names), np.nan)
    calibrated[readable] = _calibrate(second_stage, scores)
    answers = answer_calibrated(second_stage.rules, second_stage.shipped, calibrated)
    asked = [" ".join(own) for own in scores.early.list_asked()] if scores.early else []
    members = read_by_member(second_stage, scores) if with_members else {}
    places = np.cumsum(readable) - 1
    columns = (answers[name].tolist() for name in ("score", "label", "log_odds"))
    rows = zip(names, *columns, problems, places, strict=True)
    return [
        LabelledPicture(
            name,
            score,
            label,
            log_odds,
            problem or READABLE,
            {key: float("nan") if problem else float(odds[i]) for key, odds in members.items()},
            asked[i] if asked and not problem else "",
        )
        for name, score, label, log_odds, problem, i in rows
    ]


def _calibrate(second_stage: SecondStage, scores: SquareScores) -> Floats:
    """At the class shares of train; early answers are calibrated by themselves."""
    calibration = second_stage.rules.scorers[second_stage.shipped].calibration
    if scores.early is None:
        return calibration.apply(scores.log_odds)
    calibrated = scores.early.log_odds.copy()
    late = np.isnan(calibrated)
    calibrated[late] = calibration.apply(scores.log_odds[late])
    return calibrated


def read_by_member(second_stage: SecondStage, scores: SquareScores) -> dict[str, Floats]:
    """By member `(n,)` log-odds, read by its rule."""
    return second_stage.rules.read_all(scores.members)
