"""What of `params.yaml` the maps depend on."""

from features.settings.members import MembersParams
from features.settings.scoring import DumpParams


class ExplainParams(DumpParams, MembersParams):
    """What `explain` reads: images are shown to the networks as `dump` shows them."""
