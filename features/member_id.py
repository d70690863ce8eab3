"""Which network speaks: the identity that a dump carries."""

from dataclasses import dataclass

from features.correction import Correction
from features.errors import StaleArtifactError


@dataclass(frozen=True)
class MemberId:
    """A member's backbone, the fold that it left out, and its digests."""

    backbone: str
    fold: int
    digest: str
    """sha256 of its weights."""
    train_digest: str
    """Digest of the train manifest that it learned from."""
    correction: Correction
    """Turns raw logits into log-odds at the class shares of the member's train rows."""

    @property
    def name(self) -> str:
        """`<backbone>-<fold>`, as DVC names it."""
        return f"{self.backbone}-{self.fold}"

    def check_train_digest(self, train_digest: str) -> None:
        """Raises `StaleArtifactError` if the member learned from another train manifest."""
        if self.train_digest != train_digest:
            found = f"train manifest {self.train_digest[:8]}"
            stage = f"train@{self.name}"
            raise StaleArtifactError(f"member {self.name}", found, train_digest[:8], stage)
