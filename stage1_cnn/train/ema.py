"""The moving average of a network's weights: timm's, with its decay from a half-life in epochs."""

from timm.utils import ModelEmaV3
from torch import nn

from features.settings.learning import Ema


def compute_decay(ema: Ema, steps_per_epoch: int) -> float:
    """The decay of one step: given, or that at which an update counts half after its half-life."""
    if ema.decay is not None:
        return ema.decay
    assert ema.half_life_epochs is not None
    return float(0.5 ** (1 / (ema.half_life_epochs * steps_per_epoch)))


def build_ema(network: nn.Module, ema: Ema, steps_per_epoch: int) -> ModelEmaV3 | None:
    """The average of `network`, or `None` where the settings ask for none.

    Floating-point buffers, such as the statistics of batch norm, are averaged like weights, and
    counters are copied. `network` is the bare one: compiled or distributed wrappers rename what
    they hold, so that the average would not find it.
    """
    if not ema.is_on:
        return None
    decay = compute_decay(ema, steps_per_epoch)
    return ModelEmaV3(network, decay=decay, use_warmup=ema.warmup)
