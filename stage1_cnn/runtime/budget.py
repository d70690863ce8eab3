"""How many parameters the networks have, counted without making them."""

from features.settings.training import MemberSettings, TrainParams
from stage1_cnn.networks.network import build_on_meta, settle_network


def count_parameters(settings: MemberSettings) -> int:
    """Parameters of one member's network with its two-class head; no weights are read or drawn.

    Raises `ConfigError` for a network that cannot be built.
    """
    network = build_on_meta(settle_network(settings))
    return sum(parameter.numel() for parameter in network.parameters())


def describe_budget(params: TrainParams, folds: int, limit: int | None) -> str:
    """One line about all `backbones`, each trained `folds` times, against `limit` parameters."""
    counts = [count_parameters(params.resolve_backbone(name)) for name in params.backbones]
    total = folds * sum(counts)
    what = f"{_plural(len(counts), 'network')} × {_plural(folds, 'fold')}"
    text = f"parameters: {what}, {_millions(total)}"
    if limit is None:
        return f"{text}, no limit (budget.parameters)"
    text = f"{text} of {_millions(limit)} (budget.parameters)"
    return f"{text}: {_millions(total - limit)} above" if total > limit else text


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _millions(count: int) -> str:
    return f"{count / 1e6:,.1f} M" if count % 1_000_000 else f"{count // 1_000_000:,} M"
