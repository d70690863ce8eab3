"""Networks of a project into files of a bundle, each held against torch."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from features.settings.scoring import Scoring
from serving.bundle.checking import CHECKED
from serving.bundle.counting import count_operations
from serving.bundle.extending import extend_graph
from serving.format.facts import MemberFacts, Parity, Sight
from serving.format.files import MEMBERS
from serving.reading.shown import RowSquares
from serving.scoring.networks import BundledNetwork, NetworkScores
from serving.scoring.shared_heads import SharedHeads
from serving.scoring.torch_network import HEADS, SETTINGS
from serving.scoring.views import SQUARE_VIEWS, Squares
from stage1_cnn.dump.parts import build_engine
from stage1_cnn.graphs.exporting import export_graph
from stage1_cnn.graphs.pixel_graph import PixelGraph
from stage1_cnn.graphs.sessions import Single, find_limit
from stage1_cnn.networks.frozen_network import FrozenNetwork
from stage1_cnn.networks.graph_encoder import has_graph
from stage1_cnn.networks.member import Member, load_network
from stage1_cnn.scoring.engines import TorchEngine
from stage1_cnn.scoring.views import view_images

_log = logging.getLogger("forgerystack")


@dataclass(frozen=True)
class TorchNetwork:
    """A network as its project asks it: in torch, float32, on the CPU."""

    members: tuple[Member, ...]
    """One, or the folds of a frozen encoder, each a head of the network."""
    engine: TorchEngine
    scoring: Scoring
    sees: Sight

    @property
    def name(self) -> str:
        """`<backbone>-<fold>`, or that of the backbone whose folds it is."""
        first = self.members[0].id
        return first.name if len(self.members) == 1 else first.backbone

    def score(self, squares: Squares) -> NetworkScores:
        """As a dump's batch."""
        found = view_images(self.engine, self.scoring.tta)(torch.from_numpy(squares))
        log_odds, embeddings = (tensor.numpy() for tensor in found)
        return NetworkScores(log_odds.reshape(len(squares), -1), embeddings)


def share_encoders(members: Sequence[Member]) -> list[tuple[Member, ...]]:
    """The folds of one backbone by network: all are one where they have the same frozen encoder.

    Where they have not, as when the file of its weights was changed between two trainings, each is
    a network of its own.
    """
    encoders = {member.id.encoder for member in members}
    if len(encoders) > 1:
        facts = (members[0].id.backbone, len(encoders))
        _log.warning("bundle: the folds of %s have %d encoders, so they share none", *facts)
    if len(encoders) > 1 or "" in encoders:  # empty: a network that was trained
        return [(member,) for member in members]
    return [tuple(members)]


def open_network(
    members: tuple[Member, ...], folder: Path, scoring: Scoring, size: int
) -> TorchNetwork:
    """From the folder of the members' backbone; `size`: that of `images`."""
    first, folders = members[0], [folder / str(member.id.fold) for member in members]
    side = scoring.choose_side(first.settings.image_size)
    sees = Sight(mode=first.settings.images.mode, side=size)
    if sees.mode == "crop":
        sees = Sight(mode="crop", side=side, most=scoring.most_crops)
    engine = build_engine(first, folders[0], side, torch.device("cpu"))
    if len(members) > 1:
        others = map(_load_head, folders[1:], members[1:])
        engine.network.head = SharedHeads([_get_head(engine.network), *others])
    return TorchNetwork(members, TorchEngine(engine.network, engine.normalise), scoring, sees)


def _load_head(folder: Path, member: Member) -> nn.Module:
    return _get_head(load_network(folder, member))


def _get_head(network: nn.Module) -> nn.Module:
    assert isinstance(network, FrozenNetwork)
    return network.head


def write_network(source: TorchNetwork, rows: RowSquares, bundle: Path) -> list[MemberFacts]:
    """As a graph where ONNX can hold it, and all its members agree with torch on squares of `rows`;
    else its weights."""
    (bundle / MEMBERS).mkdir(exist_ok=True)
    facts = _describe(source, float(rows.counts.mean()) if len(rows.counts) else 1.0)
    path = bundle / facts[0].file
    try:
        _write_graph(source.engine, source.sees.side, path)
        parities = _measure_parity(source, BundledNetwork(bundle, facts[0]), rows.pixels)
        apart = [parity.log_odds for parity in parities if not parity.agrees]
        reason = f"its log-odds are off by {max(apart):.2g}" if apart else ""
    except Exception as error:  # whatever it is, torch can do it
        lines = str(error).strip().splitlines() or [""]
        reason = f"{type(error).__name__}: {lines[0][:200]}"
    if not reason:
        _log.info(
            "bundle %s: graph and torch differ by %.2g in log-odds and %.2g in embeddings, at most",
            source.name, max(p.log_odds for p in parities), parities[0].embeddings,
        )  # fmt: skip
        pairs = zip(facts, parities, strict=True)
        return [own.model_copy(update={"parity": parity}) for own, parity in pairs]
    _log.warning("bundle %s: no ONNX graph (%s), so labelling needs torch", source.name, reason)
    path.unlink(missing_ok=True)
    file = f"{MEMBERS}/{source.name}.safetensors"
    _write_weights(source, bundle / file)
    changes = {"kind": "torch", "file": file, "reason": reason}
    return [own.model_copy(update=changes) for own in facts]


def _write_weights(source: TorchNetwork, path: Path) -> None:
    settings = json.dumps(source.members[0].settings.model_dump(mode="json"))
    state = {name: value.contiguous() for name, value in source.engine.network.state_dict().items()}
    save_file(state, path, {SETTINGS: settings, HEADS: str(len(source.members))})


def _write_graph(engine: TorchEngine, given: int, path: Path) -> None:
    """For squares of `given` pixels. Raises whatever an exporter does."""
    if isinstance(engine.network, FrozenNetwork) and has_graph(engine.network):
        extend_graph(engine.network, engine.side, given, path)
        return
    graph = PixelGraph(engine.network, engine.normalise, resized_from=given)
    blank = torch.zeros(2, given, given, 3, dtype=torch.uint8)
    export_graph(graph, blank, path, external_data=False)


def _describe(source: TorchNetwork, squares: float) -> list[MemberFacts]:
    """Its members as a graph, until it proves to be none; `squares`: of a picture on average."""
    settings, network = source.members[0].settings, source.engine.network
    blank = torch.zeros(1, source.engine.side, source.engine.side, 3, dtype=torch.uint8)
    with FlopCounterMode(display=False) as counter:
        width = source.engine(blank)[1].shape[1]
    operations = counter.get_total_flops()
    if isinstance(network, FrozenNetwork) and has_graph(network):
        operations += count_operations(network.encoder, source.engine.side)
    operations *= len(SQUARE_VIEWS[source.scoring.tta]) * squares
    config = timm.get_pretrained_cfg(settings.model) if settings.graph is None else None
    known = settings.pretrained is True and config is not None
    named = settings.pretrained is True or settings.graph is not None
    pretrained = settings.model if named else settings.pretrained or ""
    return [
        MemberFacts(
            backbone=member.id.backbone,
            fold=member.id.fold,
            model=settings.model,
            kind="onnx",
            file=f"{MEMBERS}/{source.name}.onnx",
            head=head,
            digest=member.id.digest,
            correction=member.id.correction,
            sees=source.sees,
            side=source.engine.side,
            tta=source.scoring.tta,
            width=width,
            parameters=member.parameters,
            frozen=settings.kind == "frozen",
            operations=round(operations),
            pretrained=pretrained,
            licence=(config.license or "") if known and config is not None else "",
            parity=None,
        )
        for head, member in enumerate(source.members)
    ]


def _measure_parity(
    source: TorchNetwork, bundled: BundledNetwork, squares: Squares
) -> list[Parity]:
    """By head, on at most `CHECKED` squares, evenly spread over those that there are."""
    if len(squares):
        count = min(len(squares), CHECKED)
        squares = squares[np.linspace(0, len(squares) - 1, count).round().astype(int)]
    else:
        squares = np.zeros((2, source.sees.side, source.sees.side, 3), np.uint8)
    wanted, found = source.score(squares), bundled.score(squares)
    embeddings = float(np.abs(found.embeddings - wanted.embeddings).max())
    return [
        _compare_heads(len(squares), own, torchs, embeddings)
        for own, torchs in zip(found.log_odds.T, wanted.log_odds.T, strict=True)
    ]


def _compare_heads(squares: int, found: Single, wanted: Single, embeddings: float) -> Parity:
    differences = np.abs(found - wanted)
    return Parity(
        squares=squares,
        log_odds=float(differences.max()),
        embeddings=embeddings,
        agrees=bool((differences <= find_limit(wanted)).all()),
    )
