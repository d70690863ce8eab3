"""What is said of one picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from features.core.manifest import READABLE
from serving.reading.reader import ReadPicture
from serving.reading.shown import join_rows
from serving.scoring.scorer import EnsembleScores, Scorer
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
    """Backbones that saw it, separated by spaces, where expensive ones may be spared."""
    faces: int | None = None
    """Faces that were looked at, of a video in all its frames; 0: none was found, and the whole was
    looked at. `None` where the bundle looks for none, or the picture cannot be read."""

    @property
    def is_readable(self) -> bool:
        """Whether the score is that of the picture."""
        return self.status == READABLE


def label_read(
    scorer: Scorer, pictures: Sequence[ReadPicture], with_members: bool = False
) -> list[LabelledPicture]:
    """A row for each picture, all of them scored together."""
    second_stage = scorer.second_stage
    readable = [picture for picture in pictures if not picture.problem]
    # Rules of a cascade are about rows: about a unit of one, where these rules read it too.
    by_rows = second_stage.unit_rules is None
    may_stop = [len(own.rows) == 1 and (by_rows or not own.is_unit) for own in readable]
    counts = [len(own.rows) for own in readable]
    shown = join_rows([own.rows for own in readable])
    scores = scorer.score(shown, with_members, np.repeat(np.array(may_stop, bool), counts))
    pooled = pool_rows(scores, counts, second_stage.pooling)
    return build_rows(second_stage, pictures, pooled, with_members)


def pool_rows(scores: EnsembleScores, counts: Sequence[int], pooling: Pooling) -> EnsembleScores:
    """One score for each picture, which has so many rows, one after the other."""
    if all(count == 1 for count in counts):
        return scores
    units = number_units(np.repeat(np.arange(len(counts)), counts))
    members = {name: pooling.pool(units, values) for name, values in scores.members.items()}
    early = scores.early.take(units.first) if scores.early else None
    return EnsembleScores(pooling.pool(units, scores.log_odds), members, early)


def build_rows(
    second_stage: SecondStage,
    pictures: Sequence[ReadPicture],
    scores: EnsembleScores,
    with_members: bool,
) -> list[LabelledPicture]:
    """A row for each of `n` pictures; `scores` are of those without a problem, in order.

    The rules of units read those that are units, where there are any.
    """
    readable = np.array([not picture.problem for picture in pictures], bool)
    log_odds, early = np.full((2, len(pictures)), np.nan)
    log_odds[readable] = scores.log_odds
    asked = np.full(len(pictures), "", object)
    if scores.early:
        early[readable] = scores.early.log_odds
        asked[readable] = [" ".join(own) for own in scores.early.list_asked()]
    is_unit = np.array([picture.is_unit for picture in pictures], bool)
    columns = {name: np.empty(len(pictures), object) for name in ("score", "label", "log_odds")}
    members = {name: np.full(len(pictures), np.nan) for name in scores.members}
    for kind, chosen in ((False, ~is_unit), (True, is_unit)):
        rules = second_stage.choose_rules(kind)
        if chosen.any():
            calibrated = _calibrate(rules, second_stage.shipped, log_odds[chosen], early[chosen])
            answers = answer_calibrated(rules, second_stage.shipped, calibrated)
            for name, values in columns.items():
                values[chosen] = answers[name].to_numpy(object)
            for name, values in rules.read_all(scores.members).items():
                members[name][readable & chosen] = values[chosen[readable]]
    rows = zip(pictures, *columns.values(), strict=True)
    return [
        LabelledPicture(
            picture.name,
            float(score),
            str(label),
            float(log_odds),
            picture.problem or READABLE,
            {key: float(values[i]) for key, values in members.items()} if with_members else {},
            asked[i],
            picture.faces,
        )
        for i, (picture, score, label, log_odds) in enumerate(rows)
    ]


def _calibrate(rules: DecisionRules, shipped: str, log_odds: Floats, early: Floats) -> Floats:
    """`(n,)` at the class shares of train: `early` where there is any, NaN where there is none."""
    calibrated, late = early.copy(), np.isfinite(log_odds)
    calibrated[late] = rules.scorers[shipped].calibration.apply(log_odds[late])
    return calibrated
