"""Which members there are, by the settings."""

from typing import Any

from features.settings.sections import StageParams


class ActiveFolds(StageParams):
    """The one field of `folds` that stages after training read."""

    active: tuple[int, ...]


class MembersParams(StageParams):
    """What `evaluate` and `label` read."""

    folds: ActiveFolds
    backbones: dict[str, Any]
    """Only the names count; their settings are those of training."""
