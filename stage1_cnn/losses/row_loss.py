"""What every loss over the two classes has: a value a row, a weight a row, and a way back.

A batch's loss is the sum of `loss.measure(...) * loss.row_weights(...)`. Row weights are shares of
what the whole batch is expected to weigh, so slices of a batch, on one device after the other or on
several at once, add up to it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from scipy.special import logit
from torch import Tensor
from torch.nn.functional import one_hot

from features.core.members import Correction
from features.settings.learning import Loss
from stage1_cnn.losses.class_weights import ClassTotals, compute_class_weights


@dataclass(frozen=True)
class RowLoss(ABC):
    """A loss with the options of `settings`, for a member that learns from such `totals`."""

    settings: Loss
    totals: ClassTotals

    @cached_property
    def class_weights(self) -> tuple[float, float]:
        """What a real and a fake count."""
        return compute_class_weights(self.settings, self.totals)

    @cached_property
    def weighed(self) -> tuple[float, float]:
        """What reals and fakes weigh in a draw, on average and after all weights."""
        real, fake = (m * w for m, w in zip(self.totals.masses, self.class_weights, strict=True))
        return float(real), float(fake)

    @property
    def prevalence(self) -> float:
        """The fraction of fakes that the loss sees, after draws and all weights."""
        return self.weighed[1] / sum(self.weighed)

    @abstractmethod
    def measure(self, logits: Tensor, targets: Tensor) -> Tensor:
        """`(b,)` losses of `(b, 2)` logits; `targets` are classes `(b,)` or fractions `(b, 2)`."""

    def row_weights(
        self,
        targets: Tensor,
        weights: Tensor,
        batch: int,
        add: Callable[[Tensor], Tensor] = lambda t: t,
    ) -> Tensor:
        """`(b,)` how much each row counts; over many batches they add up to 1 a batch.

        `weights` `(b,)` are those of the manifest, `batch` the rows of the whole batch. What is
        divided by is the same for all: by its own sum, a batch with many rows of a heavy class
        would give each of them less, and the class less than `prevalence` says. `add` sums a tensor
        over the processes that have slices of the batch.
        """
        fractions = split_classes(targets, weights)
        real, fake = self.class_weights  # no tensor of them: making one waits for the device
        counted = weights * (real * fractions[:, 0] + fake * fractions[:, 1])
        return counted / (batch * sum(self.weighed))

    def compute_correction(self) -> Correction:
        """From the log-odds that minimise the loss to those at the prevalence of the train rows.

        A proper loss is minimised by the log-odds at the prevalence π that it sees. Adding
        logit(π of train) - logit(π seen) undoes sampling and weights exactly (Elkan, "The
        foundations of cost-sensitive learning", IJCAI 2001). Label smoothing has an inverse too,
        but it ties the tails; there the shift alone is applied, as it is where embeddings are
        held together or apart.
        """
        reals, fakes = self.totals.images
        shift = float(logit(fakes / (reals + fakes)) - logit(self.prevalence))
        bent = self.settings.label_smoothing > 0 or self.settings.sees_embeddings
        return Correction(shift, approximate=bent)


def split_classes(targets: Tensor, like: Tensor) -> Tensor:
    """`(b, 2)` how much of each class a row is, of the type of `like`."""
    return one_hot(targets, 2).to(like) if targets.ndim == 1 else targets
