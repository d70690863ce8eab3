"""What of `params.yaml` the forensic features depend on."""

from features.settings.images import DataRoot, Images
from features.settings.sections import StageParams


class ForensicParams(StageParams):
    """What `forensics` reads."""

    data: DataRoot
    images: Images
