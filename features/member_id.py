"""Which network speaks: the identity that a dump carries."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MemberId:
    """A member's backbone, the fold that it left out, and its digests."""

    backbone: str
    fold: int
    digest: str
    """sha256 of its weights."""
    train_digest: str
    """Digest of the train manifest that it learned from."""
    shift: float
    """Added to a raw logit, gives log-odds at the class shares of the member's train rows."""

    @property
    def name(self) -> str:
        """`<backbone>-<fold>`, as DVC names it."""
        return f"{self.backbone}-{self.fold}"
