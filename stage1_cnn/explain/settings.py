"""What of `params.yaml` the maps depend on."""

from features.settings.members import ActiveFolds
from features.settings.scoring import DumpParams


class ExplainParams(DumpParams):
    """What `explain` reads: images are shown to the networks as `dump` shows them."""

    folds: ActiveFolds
    backbones: dict[str, object]
    """Only the names count; their settings stand in `member.json`."""
