"""From the classes that a network saw to those of its train rows: the correction of a member.

Draws and row weights decide what the classes weigh; what follows for the log-odds is a matter of
each loss (`RowLoss.compute_correction`). What happens within the classes is not undone.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from features.core.manifest import count_classes
from features.core.members import Correction
from features.settings.training import MemberSettings
from stage1_cnn.losses.class_weights import ClassTotals
from stage1_cnn.losses.registry import build_loss
from stage1_cnn.losses.row_loss import RowLoss
from stage1_cnn.sampling.samplers import Candidates, weigh_draws

Floats = npt.NDArray[np.float64]


def build_member_loss(settings: MemberSettings, candidates: Candidates, weights: Floats) -> RowLoss:
    """The loss of a member that learns from `candidates` with row weights `(m,)`."""
    mass = weigh_draws(candidates, settings.sampling) * weights
    return build_loss(settings.loss, _sum_classes(settings, candidates, mass))


def compute_correction(
    settings: MemberSettings, candidates: Candidates, weights: Floats
) -> Correction:
    """What turns the logits of a member into log-odds at the prevalence of its train rows.

    `weights` `(m,)` are the row weights of the candidates.
    """
    mass = weigh_draws(candidates, settings.sampling) * weights
    loss = build_loss(settings.loss, _sum_classes(settings, candidates, mass))
    correction = loss.compute_correction()
    if _differs_within_classes(settings, candidates, mass):
        return replace(correction, approximate=True)
    return correction


def _sum_classes(settings: MemberSettings, candidates: Candidates, mass: Floats) -> ClassTotals:
    """The classes that the loss sees; a self-blended real weighs as a fake.

    `mass` `(m,)` is the chance of each row times its row weight.
    """
    real, fake = (float(mass[candidates.labels == c].sum()) for c in (0, 1))
    blended = settings.augment.self_blend
    masses = (real * (1 - blended), fake + real * blended)
    return ClassTotals(count_classes(candidates.labels), masses)


def _differs_within_classes(settings: MemberSettings, candidates: Candidates, mass: Floats) -> bool:
    """Whether rows of one class weigh differently, or are changed to more than pictures of it."""
    if settings.augment.mixes or settings.augment.self_blend > 0:
        return True
    classes = (mass[candidates.labels == c] for c in (0, 1))
    return not all(np.allclose(some, some[0], rtol=1e-9, atol=0) for some in classes)
