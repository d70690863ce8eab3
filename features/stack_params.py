"""Settings of the second stage."""

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from features.params import Section, StageParams


class Stack(Section):
    """The class-weighted LightGBM stacker and the splits that its candidates are judged on."""

    inner_folds: Annotated[int, Field(ge=3)] = 5
    """Parts that the fold rows are cut into, by group, for out-of-fold scores."""
    pca_components: PositiveInt = 64
    """Principal components kept of each backbone's embedding, at most rows / 4."""
    class_weight: Literal["balanced", "none"] = "balanced"
    """`balanced`: both classes weigh the same; the shift of the log-odds is undone."""
    max_rounds: PositiveInt = 300
    learning_rate: PositiveFloat = 0.05
    num_leaves: Annotated[int, Field(ge=2)] = 15
    min_data_in_leaf: PositiveInt = 20
    feature_fraction: Annotated[float, Field(gt=0, le=1)] = 0.5
    lambda_l2: NonNegativeFloat = 1.0


class Decision(Section):
    """How scores become labels."""

    threshold: Literal["balanced_accuracy", "accuracy"] = "balanced_accuracy"
    """What the threshold maximises, on rows that no model learned from."""


class ActiveFolds(StageParams):
    """The one field of `folds` that the second stage reads."""

    active: tuple[int, ...]


class MembersParams(StageParams):
    """Which members there are: what `evaluate` and `label` read."""

    folds: ActiveFolds
    backbones: dict[str, Any]
    """Only the names count; their settings are stage 1's."""


class StackParams(MembersParams):
    """What `stack` reads."""

    seed: NonNegativeInt
    stack: Stack
    decision: Decision
