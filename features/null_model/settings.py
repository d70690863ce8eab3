"""What of `params.yaml` the null model depends on."""

from features.settings.sections import Seed, StageParams


class NullParams(StageParams):
    """What `null_model` reads."""

    seed: Seed
