"""From the classes that a network saw to those of its train rows: a shift of its log-odds.

A network trained by cross-entropy on a share π of fakes answers with log-odds that hold for that
share. Adding logit(π of the train rows) - logit(π drawn) undoes the sampling exactly
(Elkan, "The foundations of cost-sensitive learning", IJCAI 2001).
"""

import numpy as np
import numpy.typing as npt

from features.manifest import count_classes
from features.train_params import Sampling
from stage1_cnn.samplers import share_of_reals


def compute_shift(
    labels: npt.NDArray[np.integer], weights: npt.NDArray[np.float64], sampling: Sampling
) -> float:
    """What to add to a raw logit. `labels`, `weights` are those of the member's train rows `(n,)`.

    The share that counts is the loss-weighted one: row weights shift it too.
    """
    reals, fakes = count_classes(labels)
    drawn_odds = fakes / reals
    if sampling.mode == "balanced":
        real = share_of_reals(sampling)
        drawn_odds = float((1 - real) / real)
    weight_odds = float(weights[labels == 1].mean() / weights[labels == 0].mean())
    return float(np.log(fakes / reals) - np.log(drawn_odds * weight_odds))
