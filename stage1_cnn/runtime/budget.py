"""How many parameters the networks have, counted without making them."""

from copy import deepcopy

from features.settings.training import MemberSettings, TrainParams
from stage1_cnn.networks.frozen_network import FrozenNetwork
from stage1_cnn.networks.network import build_on_meta, settle_network
from stage1_cnn.tuning.learned import ParameterCount, count_frozen, count_weights, prepare_tuning


def count_parameters(settings: MemberSettings) -> ParameterCount:
    """Parameters of one member's network with its two-class head; no weights are read or drawn.

    Raises `ConfigError` for a network that cannot be built, or not learn as the settings ask for.
    """
    network = build_on_meta(settle_network(settings))
    if isinstance(network, FrozenNetwork):
        return count_frozen(network, settings)
    network = deepcopy(network)
    prepare_tuning(network, settings)
    return count_weights(network)


def count_folds(settings: MemberSettings, folds: int) -> ParameterCount:
    """Those of all members of a backbone: folds have an encoder that is frozen in common.

    Raises as `count_parameters`.
    """
    stored, learned = count_parameters(settings)
    shared = 0
    network = build_on_meta(settle_network(settings))
    if isinstance(network, FrozenNetwork):
        shared = stored - sum(parameter.numel() for parameter in network.head.parameters())
    return ParameterCount(shared + folds * (stored - shared), folds * learned)


def describe_budget(params: TrainParams, folds: int, limit: int | None) -> str:
    """One line about all `backbones`, each with `folds` members, against `limit` parameters."""
    counts = [count_folds(params.resolve_backbone(name), folds) for name in params.backbones]
    stored, learned = map(sum, zip(*counts, strict=True))
    what = f"{_plural(len(counts), 'network')} × {_plural(folds, 'fold')}"
    text = f"parameters: {what}, {_count(learned)} learned, {_count(stored)} stored"
    if limit is None:
        return f"{text}, no limit (budget.parameters)"
    text = f"{text} of {_count(limit)} (budget.parameters)"
    return f"{text}: {_count(stored - limit)} above" if stored > limit else text


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _count(parameters: int) -> str:
    """In millions; few as they are."""
    if parameters < 100_000:
        return f"{parameters:,}"
    millions = parameters / 1e6
    return f"{millions:,.0f} M" if millions.is_integer() else f"{millions:,.1f} M"
