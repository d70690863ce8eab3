"""Settings of `forensics`."""

from features.images_params import DataRoot, Images
from features.params import StageParams


class ForensicParams(StageParams):
    """What `forensics` reads."""

    data: DataRoot
    images: Images
