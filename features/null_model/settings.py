"""What of `params.yaml` the null model depends on."""

from pydantic import NonNegativeInt

from features.settings.sections import StageParams


class NullParams(StageParams):
    """What `null_model` reads."""

    seed: NonNegativeInt
