"""Settings of `explain`: images are shown to the networks as `dump` shows them."""

from features.dump_params import DumpParams
from features.members_params import MembersParams


class ExplainParams(DumpParams, MembersParams):
    """What `explain` reads."""
