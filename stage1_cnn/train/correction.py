"""From the classes that a network saw to those of its train rows: the correction of a member.

Draws and row weights decide what the classes weigh; what follows for the log-odds is a matter of
each loss (`RowLoss.compute_correction`). What happens within the classes is not undone.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from features.core.manifest import count_classes
from features.core.members import Correction
from features.settings.learning import Sampling
from features.settings.training import MemberSettings
from stage1_cnn.losses.class_weights import ClassTotals
from stage1_cnn.losses.registry import build_loss
from stage1_cnn.losses.row_loss import RowLoss
from stage1_cnn.sampling.samplers import Candidates, weigh_draws
from stage1_cnn.sampling.sequences import Ints

Floats = npt.NDArray[np.float64]


def build_member_loss(settings: MemberSettings, candidates: Candidates, weights: Floats) -> RowLoss:
    """The loss of a member that learns from `candidates` with row weights `(m,)`."""
    return build_loss(settings.loss, _sum_classes(settings, candidates, weights))


def compute_correction(
    settings: MemberSettings, candidates: Candidates, weights: Floats
) -> Correction:
    """What turns the logits of a member into log-odds at the prevalence of its train rows.

    `weights` `(m,)` are the row weights of the candidates.
    """
    mass = weigh_draws(candidates, settings.sampling) * weights
    correction = build_member_loss(settings, candidates, weights).compute_correction()
    if _differs_within_classes(settings, candidates, mass):
        return replace(correction, approximate=True)
    return correction


def _sum_classes(settings: MemberSettings, candidates: Candidates, weights: Floats) -> ClassTotals:
    """The classes that the loss sees; a self-blended real weighs as a fake."""
    sampling, labels = settings.sampling, candidates.labels
    drawn = weigh_draws(candidates, sampling)
    real, fake = _sum_by_class(labels, drawn * weights)
    blended = settings.augment.self_blend
    batch = min(settings.schedule.batch_size, len(labels))
    return ClassTotals(
        count_classes(labels),
        weights=_sum_by_class(labels, weights),
        masses=(real * (1 - blended), fake + real * blended),
        lacking=_find_lacking(sampling, _sum_by_class(labels, drawn), batch, len(labels)),
    )


def _find_lacking(
    sampling: Sampling, shares: tuple[float, float], batch: int, epoch: int
) -> tuple[float, float]:
    """The chance that a batch has no real, and that it has no fake; `shares` of draws are theirs.

    Without a fixed ratio as if a batch was drawn from the `epoch` draws of an epoch by itself.
    """
    left = epoch - np.arange(batch)

    def find(share: float) -> float:
        if sampling.mode in ("balanced", "undersample"):  # spread evenly: one of them or none
            return max(0.0, 1 - batch * share)
        return float(np.prod(np.maximum(0, 1 - share * epoch / left)))

    return find(shares[0]), find(shares[1])


def _sum_by_class(labels: Ints, values: Floats) -> tuple[float, float]:
    """Of reals and of fakes."""
    return float(values[labels == 0].sum()), float(values[labels == 1].sum())


def _differs_within_classes(settings: MemberSettings, candidates: Candidates, mass: Floats) -> bool:
    """Whether rows of one class weigh differently, or are changed to more than pictures of it."""
    if settings.augment.mixes or settings.augment.self_blend > 0:
        return True
    classes = (mass[candidates.labels == c] for c in (0, 1))
    return not all(np.allclose(some, some[0], rtol=1e-9, atol=0) for some in classes)
