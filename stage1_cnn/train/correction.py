"""From the classes that a network saw to those of its train rows: the correction of a member.

A network trained by a proper loss answers with log-odds that hold for the share π of fakes which
the loss saw. Adding logit(π of the train rows) - logit(π seen) undoes sampling and weights exactly
(Elkan, "The foundations of cost-sensitive learning", IJCAI 2001). Logit adjustment and focal loss
have minimisers of their own, whose inverse is known. Label smoothing has one too, but it ties the
tails; there the shift alone is applied.
"""

import numpy as np
import numpy.typing as npt
from scipy.special import logit

from features.core.manifest import count_classes
from features.core.members import Correction
from features.settings.training import MemberSettings
from stage1_cnn.sampling.samplers import Candidates, weigh_draws
from stage1_cnn.train.losses import RowLoss, build_loss, find_share

Floats = npt.NDArray[np.float64]


def build_member_loss(settings: MemberSettings, candidates: Candidates, weights: Floats) -> RowLoss:
    """The loss of a member that learns from `candidates` with row weights `(m,)`."""
    mass = weigh_draws(candidates, settings.sampling) * weights
    return _build_loss(settings, candidates, _sum_classes(settings, candidates, mass))


def compute_correction(
    settings: MemberSettings, candidates: Candidates, weights: Floats
) -> Correction:
    """What turns raw logits of a member into log-odds at its train rows' shares of the classes.

    `weights` `(m,)` are the row weights of the candidates.
    """
    mass = weigh_draws(candidates, settings.sampling) * weights
    masses = _sum_classes(settings, candidates, mass)
    loss = _build_loss(settings, candidates, masses)
    seen = 0.5 if settings.loss.kind == "class_mean" else find_share(masses, loss.class_weights)
    reals, fakes = count_classes(candidates.labels)
    shift = float(logit(fakes / (reals + fakes)) - logit(seen)) + loss.offset
    gamma = 0.0
    if settings.loss.kind == "focal":
        gamma = settings.loss.gamma
        shift -= 0.0 if settings.loss.alpha is None else float(logit(settings.loss.alpha))
    return Correction(shift, gamma, _is_approximate(settings, candidates, mass))


def _sum_classes(
    settings: MemberSettings, candidates: Candidates, mass: Floats
) -> tuple[float, float]:
    """What reals and fakes weigh in all draws; a self-blended real counts as a fake.

    `mass` `(m,)` is the chance of each row times its row weight.
    """
    real, fake = (float(mass[candidates.labels == c].sum()) for c in (0, 1))
    blended = settings.augment.self_blend
    return real * (1 - blended), fake + real * blended


def _build_loss(
    settings: MemberSettings, candidates: Candidates, masses: tuple[float, float]
) -> RowLoss:
    return build_loss(settings.loss, masses, count_classes(candidates.labels))


def _is_approximate(settings: MemberSettings, candidates: Candidates, mass: Floats) -> bool:
    """Whether more than the classes' shares differs from the train rows."""
    augment, loss = settings.augment, settings.loss
    if augment.mixup + augment.cutmix + augment.self_blend + loss.label_smoothing > 0:
        return True
    parts = (mass[candidates.labels == c] for c in (0, 1))
    return not all(np.allclose(part, part[0], rtol=1e-9, atol=0) for part in parts)
