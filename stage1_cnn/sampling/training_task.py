"""What one training is of."""

from dataclasses import dataclass

from features.core.auc import Floats
from features.core.manifest import LearnRows, Manifest
from features.pixels.store import ImageStore
from features.settings.training import MemberSettings


@dataclass(frozen=True)
class TrainingTask:
    """Rows of the train manifest, their pictures, and how a network learns from them."""

    settings: MemberSettings
    store: ImageStore
    """Pictures of all rows of `train`."""
    train: Manifest
    rows: LearnRows
    """Those that are learned from, and the fold that they leave out."""
    seed: int
    """Of draws, of changes of pictures, and of weights that are not pretrained."""

    @property
    def row_weights(self) -> Floats:
        """What each of `rows` counts, `(m,)`."""
        return self.train.weights[self.rows.row_ids]
