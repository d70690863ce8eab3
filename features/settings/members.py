"""Which members there are, by the settings: networks, and detectors from outside."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from features.settings.sections import Place, Section, StageParams

DetectorName = Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")]


class OutsideScores(Section):
    """One entry of `outside`: what a detector that was trained elsewhere says of the pictures."""

    scores: Place
    """Table of rows of train, val and test, as text or Parquet, relative to the folder of
    `params.yaml`."""
    kind: Literal["probability", "logit"]
    """What its scores are: of fake."""
    learned_from: Literal["none", "unknown"]
    """Which rows of train it learned from. Nobody can check that: it is declared, and named so
    wherever its figures stand."""
    name: str = "img_name"
    """Column of names, or of paths below `data.root`."""
    score: str = "score"
    """Column of scores; empty where there is none."""
    embeddings: str | None = None
    """Columns of an embedding, as `emb_*`, or one column of lists in Parquet."""


Outside = dict[DetectorName, OutsideScores]


class ActiveFolds(StageParams):
    """The one field of `folds` that stages after training read."""

    active: tuple[int, ...]


class MembersParams(StageParams):
    """What `outside`, `evaluate` and `label` read."""

    folds: ActiveFolds
    backbones: dict[str, Any]
    """Only the names count; their settings are those of training."""
    outside: Outside

    @model_validator(mode="after")
    def _check_members(self) -> Self:
        if problems := find_member_problems(self.backbones, self.outside):
            raise ValueError("\n".join(problems))  # one problem a line
        return self

    @property
    def names(self) -> list[str]:
        """Of all members, backbones first: the order of their columns."""
        return [*self.backbones, *self.outside]


def find_member_problems(backbones: Mapping[str, Any], outside: Mapping[str, Any]) -> list[str]:
    """That there is no member at all, and names that stand for two."""
    if not backbones and not outside:
        return ["backbones and outside are both empty: there is nobody to score pictures"]
    return [f"outside.{name}: a backbone has this name" for name in outside if name in backbones]
