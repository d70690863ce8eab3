"""What `metrics.json` holds of the answers that labels give."""

from typing import NotRequired

from typing_extensions import TypedDict

from stage2_ensemble.results.scores import Figure


class AnswerShare(TypedDict):
    """How many rows of one class get one answer."""

    value: float
    low: Figure
    high: Figure


class AnswerShares(TypedDict):
    """Of rows of one class, by answer."""

    real: AnswerShare
    fake: AnswerShare
    review: NotRequired[AnswerShare]


class ReviewEdges(TypedDict):
    """Between which log-odds, at the prior that labels assume, rows are left to a person."""

    low: float
    high: float


class Answers(TypedDict):
    """What labels say of the rows that headline figures stand on."""

    reals: AnswerShares
    fakes: AnswerShares
    review: NotRequired[ReviewEdges]
    """With `decision.review`: the band decides, not the threshold."""
