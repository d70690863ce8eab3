"""How many parameters the networks have, counted without making them."""

from collections.abc import Iterable
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


def count_members(backbones: Iterable[MemberSettings], folds: int) -> ParameterCount:
    """Those of all members, `folds` of each backbone: an encoder that is frozen counts once,
    whatever the number of folds and of backbones that read it.

    Raises as `count_parameters`.
    """
    stored = learned = 0
    encoders: dict[object, int] = {}
    for settings in map(settle_network, backbones):
        own = count_parameters(settings)
        shared = 0
        network = build_on_meta(settings)
        if isinstance(network, FrozenNetwork):
            shared = own.stored - sum(weight.numel() for weight in network.head.parameters())
            place = (settings.pretrained, settings.weights.root)
            encoders[settings.model, *place, settings.network.input, shared] = shared
        stored += folds * (own.stored - shared)
        learned += folds * own.learned
    return ParameterCount(stored + sum(encoders.values()), learned)


def describe_budget(params: TrainParams, folds: int, limit: int | None) -> str:
    """One line about all `backbones`, each with `folds` members, against `limit` parameters."""
    stored, learned = count_members(map(params.resolve_backbone, params.backbones), folds)
    what = f"{_plural(len(params.backbones), 'network')} × {_plural(folds, 'fold')}"
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
