"""What of `params.yaml` a bundle depends on."""

from features.settings.data import Data
from features.settings.images import PreparedImages
from features.settings.members import MembersParams
from features.settings.scoring import DumpSection


class BundleParams(MembersParams):
    """What `bundle` reads; all else about a member stands in its `member.json`."""

    data: Data
    images: PreparedImages
    dump: DumpSection
