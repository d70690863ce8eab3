"""Which network speaks: the identity that a dump carries, and what its logits mean.

A correction leads from what the network was trained to answer to log-odds at the classes of its
train rows.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from features.errors import StaleArtifactError

Floats = npt.NDArray[np.float64]
_LINEAR = 500.0
"""Raw log-odds from which on the focal map is its asymptote, to less than 1e-200."""


@dataclass(frozen=True)
class Correction:
    """A strictly increasing map of a member's raw log-odds: its AUC stays what it is.

    It is no calibration: it undoes what sampling, weights and the loss do to a network that has
    learned all there is to learn. Calibration follows in stage 2.
    """

    shift: float = 0.0
    """Added last."""
    gamma: float = 0.0
    """Of the focal loss; 0: there was none."""
    approximate: bool = False
    """Only the classes' shares are undone, not what happened within the classes."""

    def apply(self, logits: npt.ArrayLike) -> Floats:
        """Log-odds of fake, of any shape, at the class shares of the member's train rows."""
        raw = np.asarray(logits, np.float64)
        return (undo_focal(raw, self.gamma) if self.gamma else raw) + self.shift

    def apply_to_crops(self, crop_logits: npt.NDArray[np.floating] | None) -> Floats | None:
        """`(n, 2)` with the highest log-odds corrected; their standard deviation stays as it is."""
        if crop_logits is None:
            return None
        return np.stack([self.apply(crop_logits[:, 0]), crop_logits[:, 1]], axis=1)


def undo_focal(logits: Floats, gamma: float) -> Floats:
    """Log-odds of the class from those of a network trained by focal loss.

    The minimiser q of the focal risk answers to the class probability p = h(q) / (h(q) + h(1 - q))
    with h(v) = v / ((1 - v)^γ - γ (1 - v)^(γ - 1) v ln v) (Charoenphakdee et al., "On focal loss
    for class-posterior probability estimation", CVPR 2021).
    """
    inner = np.clip(logits, -_LINEAR, _LINEAR)
    odds = _log_h(inner, gamma) - _log_h(-inner, gamma)
    return np.asarray(odds + (gamma + 1) * (logits - inner), np.float64)


def _log_h(logits: Floats, gamma: float) -> Floats:
    """ln h(q) of q = expit(logits); 1 - q and ln q without loss of digits on either side."""
    rest, log_q, log_rest = expit(-logits), -np.logaddexp(0, -logits), -np.logaddexp(0, logits)
    return np.asarray(log_q - (gamma - 1) * log_rest - np.log(rest - gamma * expit(logits) * log_q))


@dataclass(frozen=True)
class MemberId:
    """A member's backbone, the fold that it left out, and its digests."""

    backbone: str
    fold: int
    digest: str
    """sha256 of its weights."""
    train_digest: str
    """Digest of the train manifest that it learned from; empty for a detector from outside."""
    correction: Correction
    """Turns raw logits into log-odds at the class shares of the member's train rows."""
    encoder: str = ""
    """Digest of the frozen encoder that gives its embeddings, whose axes are those of all members
    with this encoder; empty for a trained network, whose axes are its own."""

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
