"""Settings of `null_model`."""

from pydantic import NonNegativeInt

from features.params import StageParams


class NullParams(StageParams):
    """What `null_model` reads."""

    seed: NonNegativeInt
