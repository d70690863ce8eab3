"""Members of a project as the networks of a bundle: a frozen encoder once for all that share it."""

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import nn

from features.core.files import digest_json
from features.errors import BundleError
from features.settings.scoring import Scoring
from serving.format.cascade import JOINED
from serving.format.facts import Sight
from serving.scoring.networks import NetworkScores
from serving.scoring.views import Squares
from stage1_cnn.dump.parts import build_engine
from stage1_cnn.networks.frozen_network import FrozenNetwork, find_reading, freeze_network
from stage1_cnn.networks.joined_network import JoinedNetwork, join_networks
from stage1_cnn.networks.member import WEIGHTS, Member
from stage1_cnn.scoring.engines import TorchEngine
from stage1_cnn.scoring.views import view_images

_log = logging.getLogger("forgerystack")
LONGEST = 200
"""Letters of a network's name: file systems know 255."""


@dataclass(frozen=True)
class ProjectMember:
    """A member, the folder that it lies in, and how its project scores with it."""

    member: Member
    folder: Path
    scoring: Scoring
    size: int
    """That of `images`."""

    @property
    def side(self) -> int:
        """Of the squares that its network takes."""
        return self.scoring.choose_side(self.member.settings.image_size)

    @property
    def sees(self) -> Sight:
        """What it is shown of a picture."""
        mode = self.member.settings.images.mode
        if mode == "crop":
            return Sight(mode=mode, side=self.side, most=self.scoring.most_crops)
        return Sight(mode=mode, side=self.size)


@dataclass(frozen=True)
class TorchNetwork:
    """A network as its project asks it: in torch, float32, on the CPU."""

    members: tuple[Member, ...]
    """One, or all that have a frozen encoder in common, each a head of the network."""
    engine: TorchEngine
    scoring: Scoring
    sees: Sight

    @property
    def name(self) -> str:
        """`<backbone>-<fold>`, or all backbones whose folds it is: `clip`, `clip+inner`."""
        if len(self.members) == 1:
            return self.members[0].id.name
        backbones = list(dict.fromkeys(member.id.backbone for member in self.members))
        whole = JOINED.join(backbones)
        return whole if len(whole) <= LONGEST else f"{backbones[0]}{JOINED}{len(backbones) - 1}"

    def score(self, squares: Squares) -> NetworkScores:
        """As a dump's batch."""
        found = view_images(self.engine, self.scoring.tta)(torch.from_numpy(squares))
        log_odds, embeddings = (tensor.numpy() for tensor in found)
        return NetworkScores(log_odds.reshape(len(squares), -1), embeddings)


def open_networks(members: Sequence[ProjectMember]) -> list[TorchNetwork]:
    """In the order of the first member of each.

    Raises `BundleError` for two networks of one name: backbone `a-0`, and fold 0 of `a`.
    """
    networks = [own for group in share_encoders(members) for own in _open_group(group)]
    names = Counter(network.name for network in networks)
    if doubled := [f"two networks are called {name}" for name in names if names[name] > 1]:
        raise BundleError("the ensemble", doubled, "Rename the frozen backbone.")
    return networks


def share_encoders(members: Sequence[ProjectMember]) -> list[tuple[ProjectMember, ...]]:
    """Members by network: one of all that have the same frozen encoder and show it the same.

    Folds of a backbone whose encoders differ, as when the file of its weights was changed between
    two trainings, are networks of their own.
    """
    unlike = _find_unlike(members)
    weights: dict[str, str] = {}
    groups: dict[str, list[ProjectMember]] = {}
    for own in members:
        identity = own.member.id
        key = identity.name
        if identity.encoder and identity.backbone not in unlike:
            if identity.encoder not in weights:
                weights[identity.encoder] = _digest_encoder(own.folder / WEIGHTS)
            key = _digest_sharing(own, weights[identity.encoder])
        groups.setdefault(key, []).append(own)
    return [tuple(group) for group in groups.values()]


def _find_unlike(members: Sequence[ProjectMember]) -> set[str]:
    """Backbones whose folds have several encoders."""
    encoders: dict[str, set[str]] = {}
    for own in members:
        encoders.setdefault(own.member.id.backbone, set()).add(own.member.id.encoder)
    unlike = {name: len(found) for name, found in encoders.items() if len(found) > 1}
    for pair in unlike.items():
        _log.warning("bundle: the folds of %s have %d encoders, so they share none", *pair)
    return set(unlike)


def _digest_encoder(path: Path) -> str:
    """Of a frozen member's weights but for its head."""
    content = hashlib.sha256()
    with safe_open(path, "pt") as file:
        for name in sorted(file.keys()):
            if name.startswith("encoder."):
                tensor = file.get_tensor(name)
                content.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                content.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
    return content.hexdigest()


def _digest_sharing(own: ProjectMember, weights: str) -> str:
    """Of all that frozen members must have in common to be one network; what they read of the
    encoder may differ."""
    shown = {"model", "image_size", "images", "network", "graph"}
    facts = own.member.settings.model_dump(mode="json", include=shown)
    if facts["graph"] is not None:
        del facts["graph"]["output"]
    sees = own.sees.model_dump(mode="json")
    return digest_json([weights, facts, sees, own.side, own.scoring.tta])


def _open_group(members: tuple[ProjectMember, ...]) -> list[TorchNetwork]:
    """As one, or one for each reading where readings of the encoder cannot be joined."""
    try:
        return [open_network(members)]
    except ValueError as error:
        by_reading: dict[object, list[ProjectMember]] = {}
        for own in members:
            by_reading.setdefault(find_reading(own.member.settings), []).append(own)
        if len(by_reading) == 1:
            raise
        names = ", ".join(dict.fromkeys(own.member.id.backbone for own in members))
        _log.warning("bundle: %s have one encoder, but no file in common: %s", names, error)
        return [open_network(tuple(group)) for group in by_reading.values()]


def open_network(members: tuple[ProjectMember, ...]) -> TorchNetwork:
    """Of one member, or of several with the same frozen encoder, which is loaded once.

    Raises `ValueError` as `join_networks`.
    """
    first = members[0]
    engine = build_engine(first.member, first.folder, first.side, torch.device("cpu"))
    network = engine.network
    if len(members) > 1:
        network = _join(engine, members[1:])
    own = TorchEngine(network, engine.normalise)
    return TorchNetwork(tuple(one.member for one in members), own, first.scoring, first.sees)


def _join(engine: TorchEngine, others: Sequence[ProjectMember]) -> JoinedNetwork:
    """The network of `engine` and those of `others`."""
    first = engine.network
    assert isinstance(first, FrozenNetwork)
    networks = [first, *(_put_head(first.encoder, engine.side, own) for own in others)]
    noise = np.random.default_rng(0).integers(0, 256, (2, engine.side, engine.side, 3), np.uint8)
    by_reading = {network.reading: network for network in networks}
    join_networks(list(by_reading.values()), engine.normalise(noise))
    return JoinedNetwork(networks)


def _put_head(encoder: nn.Module, side: int, own: ProjectMember) -> FrozenNetwork:
    """The head of a member on an encoder for squares of `side` pixels that is its own, too."""
    settings = own.member.settings.model_copy(update={"image_size": side})
    network = freeze_network(encoder, settings)
    with safe_open(own.folder / WEIGHTS, "pt") as file:
        state = {name: file.get_tensor(f"head.{name}") for name in network.head.state_dict()}
    network.head.load_state_dict(state)
    return network
