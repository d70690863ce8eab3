"""Optimiser and learning rate schedule of one network, by timm."""

from collections.abc import Iterator
from typing import Any

import torch
from timm.optim import create_optimizer_v2, param_groups_layer_decay, param_groups_weight_decay
from timm.scheduler import create_scheduler_v2
from timm.utils import dispatch_clip_grad
from torch import nn

from features.errors import ConfigError
from features.settings.learning import Optimizer, Schedule
from stage1_cnn.networks.network import find_head

FUSED = ("adam", "adamw")
"""One kernel a step: 1.5 times as fast on the CPU for small networks."""
DECAYS: dict[str, dict[str, Any]] = {
    "cosine": {"sched": "cosine"},
    "linear": {"sched": "poly", "decay_rate": 1.0},
    "constant": {"sched": "step", "decay_rate": 1.0, "decay_epochs": 1},
}
"""Our names in timm's words."""


def build_optimizer(network: nn.Module, settings: Optimizer) -> torch.optim.Optimizer:
    """Of what learns: with weight decay for matrices only and a learning rate for each layer.

    Raises `ConfigError` for a name that timm does not know.
    """
    extra: dict[str, Any] = {"fused": True} if settings.name in FUSED else {}
    try:
        return create_optimizer_v2(
            list(_group_parameters(network, settings)),
            opt=settings.name,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            momentum=settings.momentum,
            **extra,
        )
    except (ValueError, AssertionError, TypeError) as error:
        raise ConfigError("optimizer.name", [f"{settings.name}: {error}"]) from error


def _group_parameters(network: nn.Module, settings: Optimizer) -> Iterator[dict[str, Any]]:
    """timm's groups, each cut into head and backbone, whose rates differ by `backbone_lr_scale`."""
    plain: set[str] = getattr(network, "no_weight_decay", set)()
    if settings.layer_decay is None:
        groups = param_groups_weight_decay(
            network, settings.weight_decay, no_weight_decay_list=plain
        )
    else:
        groups = param_groups_layer_decay(
            network, settings.weight_decay, plain, layer_decay=settings.layer_decay
        )
    head = {id(parameter) for parameter in find_head(network).parameters()}
    for group in groups:
        for in_head in (True, False):
            chosen = [p for p in group["params"] if (id(p) in head) == in_head]
            scale = group.get("lr_scale", 1.0) * (1.0 if in_head else settings.backbone_lr_scale)
            if chosen:
                yield {**group, "params": chosen, "lr_scale": scale}


def build_scheduler(
    optimizer: torch.optim.Optimizer,
    lr: float,
    schedule: Schedule,
    steps_per_epoch: int,
    total: int,
) -> Any:
    """timm's scheduler, advanced by `step_update(step)`: warm-up, then the decay to `total`."""
    warmup = min(round(schedule.warmup_epochs * steps_per_epoch), total - 1)
    scheduler, _ = create_scheduler_v2(
        optimizer,
        num_epochs=total - warmup,  # the prefix comes on top
        warmup_epochs=warmup,
        warmup_lr=lr * 1e-3,
        min_lr=0.0,
        warmup_prefix=True,
        step_on_epochs=False,
        updates_per_epoch=1,
        **DECAYS[schedule.decay],
    )
    return scheduler


def clip_gradients(network: nn.Module, settings: Optimizer) -> None:
    """Bounds the gradients as `clip_grad` asks, in place; adaptive clipping spares the head."""
    if settings.clip_grad is not None:
        mode = settings.clip_mode
        spared = set(find_head(network).parameters()) if mode == "agc" else set()
        parameters = [p for p in network.parameters() if p.requires_grad and p not in spared]
        dispatch_clip_grad(parameters, settings.clip_grad, mode=mode)
