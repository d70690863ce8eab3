"""One look of a frozen encoder at each picture, for all backbones that read something of it.

others = choose_companions(settings, [params.resolve_backbone(name) for name in params.backbones])
look = open_shared_look(encoding, network, processes, others)
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

import torch

from features.artifacts.row_blocks import Arrays, RowBlocks
from features.errors import ConfigError
from features.settings.training import MemberSettings
from stage1_cnn.frozen.encoding import Encoding, digest_weights, identify_encoder
from stage1_cnn.networks.devices import fixed_algorithms, tell_memory
from stage1_cnn.networks.frozen_network import FrozenNetwork, find_reading, freeze_network
from stage1_cnn.networks.joined_network import join_networks
from stage1_cnn.networks.model_names import resolve_model_name
from stage1_cnn.networks.network import CHANNELS, settle_network
from stage1_cnn.scoring.engines import Engine
from stage1_cnn.scoring.processes import Processes

SHOWN = {"kind", "model", "pretrained", "image_size", "own_size", "images", "network", "weights"}
"""Settings that say which encoder it is, and what it is shown; and `graph`, but for its output."""
_log = logging.getLogger("forgerystack")


def choose_companions(
    settings: MemberSettings, others: Iterable[MemberSettings]
) -> list[MemberSettings]:
    """Of `others`, as `params.yaml` has them, those that read the encoder of `settings` elsewhere.

    `settings` are settled, and so are those that are returned. What cannot be is left out: its own
    training says why.
    """
    found = []
    for other in others:
        if other.kind != "frozen" or not _may_be_same(settings.model, other):
            continue
        try:
            settled = settle_network(other)
        except ConfigError:
            continue
        if find_reading(settled) != find_reading(settings) and _say_shown(settled) == _say_shown(
            settings
        ):
            found.append(settled)
    return list({find_reading(own): own for own in found}.values())


def _may_be_same(model: str, other: MemberSettings) -> bool:
    """Before files are opened."""
    if other.graph is not None:
        return other.model == model
    try:
        return resolve_model_name(other.model) == model
    except ConfigError:
        return False


def _say_shown(settings: MemberSettings) -> dict[str, object]:
    facts = settings.model_dump(include=SHOWN)
    if settings.graph is not None:
        facts["graph"] = settings.graph.model_dump(exclude={"output"})
    return facts


@dataclass(frozen=True)
class SharedLook:
    """An encoder as several members read it; the first one is asked for."""

    encodings: tuple[Encoding, ...]
    networks: tuple[FrozenNetwork, ...]
    processes: Processes
    engine: Engine
    """Of the first one alone."""

    @property
    def widths(self) -> list[int]:
        """Lengths of their embeddings."""
        return [network.head.in_features for network in self.networks]

    def join(self, numbers: Sequence[int]) -> tuple[Engine, list[int]]:
        """What computes the embeddings of these members, one beside the other, and of which.

        The first one alone where the encoder says something else to several than to each.
        """
        if len(numbers) > 1:
            first = self.encodings[0]
            shape = (1, CHANNELS[first.settings.network.input], first.side, first.side)
            images = torch.linspace(-2, 2, prod(shape), device=self.engine.device).reshape(shape)
            try:
                with tell_memory(self.engine.device), fixed_algorithms():
                    joined = join_networks([self.networks[number] for number in numbers], images)
                return first.build_engine(joined, self.processes), list(numbers)
            except ValueError as error:
                _log.info("%s is looked at by each backbone: %s", first.settings.model, error)
        return self.engine, [0]


def open_shared_look(
    encoding: Encoding,
    network: FrozenNetwork,
    processes: Processes,
    companions: Sequence[MemberSettings] = (),
) -> SharedLook:
    """`network`, of `encoding`, is changed to see what it is shown; `companions`: as of
    `choose_companions`, scored alike."""
    encodings, networks = [encoding], [network]
    weights = digest_weights(network.encoder) if companions else ""
    for settings in companions:
        try:
            networks.append(freeze_network(network.encoder, settings))
        except ConfigError:  # a layer that it has not: its own training says so
            continue
        identity = identify_encoder(weights, settings)
        encodings.append(Encoding(settings, identity, encoding.scoring, encoding.images))
    encoding.fit_size(network)
    engine = encoding.build_engine(network, processes)
    return SharedLook(tuple(encodings), tuple(networks), processes, engine)


class SharedBlocks:
    """The embeddings of several members, filled together; those of the first say what is missing.

    It is saved first, so that at no time the others have what it lacks.
    """

    def __init__(self, blocks: Sequence[RowBlocks]) -> None:
        self._blocks = tuple(blocks)

    def list_missing(self) -> list[tuple[int, int]]:
        """See `RowBlocks`."""
        return self._blocks[0].list_missing()

    def add(self, start: int, arrays: Arrays) -> None:
        """Embeddings of each member, then the names of the squares."""
        *embeddings, names = arrays
        for blocks, own in zip(self._blocks, embeddings, strict=True):
            blocks.add(start, [own, names])

    def save(self) -> None:
        """See `RowBlocks`."""
        for blocks in self._blocks:
            blocks.save()

    def save_if_due(self) -> None:
        """See `RowBlocks`."""
        for blocks in self._blocks:
            blocks.save_if_due()


def covers(outer: Sequence[tuple[int, int]], inner: Sequence[tuple[int, int]]) -> bool:
    """Whether each range of `inner` lies within one of `outer`."""
    return all(any(a <= start and stop <= b for a, b in outer) for start, stop in inner)
