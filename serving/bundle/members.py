"""Members of a project into files of a bundle, each held against torch."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode

from features.settings.scoring import Scoring
from serving.bundle.checking import CHECKED
from serving.bundle.counting import count_operations
from serving.bundle.extending import extend_graph
from serving.format.facts import MemberFacts, Parity, Sight
from serving.format.files import MEMBERS
from serving.reading.shown import RowSquares
from serving.scoring.members import BundledMember, MemberScores
from serving.scoring.torch_network import SETTINGS
from serving.scoring.views import SQUARE_VIEWS, Squares
from stage1_cnn.dump.parts import build_engine
from stage1_cnn.graphs.exporting import export_graph
from stage1_cnn.graphs.pixel_graph import PixelGraph
from stage1_cnn.graphs.sessions import find_limit
from stage1_cnn.networks.frozen_network import FrozenNetwork
from stage1_cnn.networks.graph_encoder import has_graph
from stage1_cnn.networks.member import Member
from stage1_cnn.scoring.engines import TorchEngine
from stage1_cnn.scoring.views import view_images

_log = logging.getLogger("forgerystack")


@dataclass(frozen=True)
class TorchMember:
    """A member as its project asks it: in torch, float32, on the CPU."""

    member: Member
    engine: TorchEngine
    scoring: Scoring
    sees: Sight

    def score(self, squares: Squares) -> MemberScores:
        """As a dump's batch."""
        found = view_images(self.engine, self.scoring.tta)(torch.from_numpy(squares))
        return MemberScores(*(tensor.numpy() for tensor in found))


def open_member(member: Member, folder: Path, scoring: Scoring, size: int) -> TorchMember:
    """From the folder that its training wrote; `size`: that of `images`."""
    side = scoring.choose_side(member.settings.image_size)
    sees = Sight(mode=member.settings.images.mode, side=size)
    if sees.mode == "crop":
        sees = Sight(mode="crop", side=side, most=scoring.most_crops)
    engine = build_engine(member, folder, side, torch.device("cpu"))
    return TorchMember(member, TorchEngine(engine.network, engine.normalise), scoring, sees)


def write_bundled_member(source: TorchMember, rows: RowSquares, bundle: Path) -> MemberFacts:
    """As a graph where ONNX can hold it, and agrees with torch on squares of `rows`; else its
    weights."""
    (bundle / MEMBERS).mkdir(exist_ok=True)
    facts = _describe(source, float(rows.counts.mean()) if len(rows.counts) else 1.0)
    given = source.sees.side
    try:
        _write_graph(source.engine, given, bundle / facts.file)
        parity = _measure_parity(source, BundledMember(bundle, facts), rows.pixels)
        reason = "" if parity.agrees else f"its log-odds are off by {parity.log_odds:.2g}"
    except Exception as error:  # whatever it is, torch can do it
        lines = str(error).strip().splitlines() or [""]
        reason = f"{type(error).__name__}: {lines[0][:200]}"
    if not reason:
        _log.info(
            "bundle %s: graph and torch differ by %.2g in log-odds and %.2g in embeddings, at most",
            facts.name, parity.log_odds, parity.embeddings,
        )  # fmt: skip
        return facts.model_copy(update={"parity": parity})
    _log.warning("bundle %s: no ONNX graph (%s), so labelling needs torch", facts.name, reason)
    (bundle / facts.file).unlink(missing_ok=True)
    file = f"{MEMBERS}/{facts.name}.safetensors"
    settings = json.dumps(source.member.settings.model_dump(mode="json"))
    state = {name: value.contiguous() for name, value in source.engine.network.state_dict().items()}
    save_file(state, bundle / file, {SETTINGS: settings})
    return facts.model_copy(update={"kind": "torch", "file": file, "reason": reason})


def _write_graph(engine: TorchEngine, given: int, path: Path) -> None:
    """For squares of `given` pixels. Raises whatever an exporter does."""
    if isinstance(engine.network, FrozenNetwork) and has_graph(engine.network):
        extend_graph(engine.network, engine.side, given, path)
        return
    graph = PixelGraph(engine.network, engine.normalise, resized_from=given)
    blank = torch.zeros(2, given, given, 3, dtype=torch.uint8)
    export_graph(graph, blank, path, external_data=False)


def _describe(source: TorchMember, squares: float) -> MemberFacts:
    """As a graph, until it proves to be none; `squares`: of a picture on average."""
    member, settings = source.member, source.member.settings
    blank = torch.zeros(1, source.engine.side, source.engine.side, 3, dtype=torch.uint8)
    with FlopCounterMode(display=False) as counter:
        width = source.engine(blank)[1].shape[1]
    operations, network = counter.get_total_flops(), source.engine.network
    if isinstance(network, FrozenNetwork) and has_graph(network):
        operations += count_operations(network.encoder, source.engine.side)
    operations *= len(SQUARE_VIEWS[source.scoring.tta]) * squares
    config = timm.get_pretrained_cfg(settings.model) if settings.graph is None else None
    known = settings.pretrained is True and config is not None
    named = settings.pretrained is True or settings.graph is not None
    pretrained = settings.model if named else settings.pretrained or ""
    return MemberFacts(
        backbone=member.id.backbone,
        fold=member.id.fold,
        model=settings.model,
        kind="onnx",
        file=f"{MEMBERS}/{member.id.name}.onnx",
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


def _measure_parity(source: TorchMember, bundled: BundledMember, squares: Squares) -> Parity:
    """On at most `CHECKED` squares, evenly spread over those that there are."""
    if len(squares):
        count = min(len(squares), CHECKED)
        squares = squares[np.linspace(0, len(squares) - 1, count).round().astype(int)]
    else:
        squares = np.zeros((2, source.sees.side, source.sees.side, 3), np.uint8)
    wanted, found = source.score(squares), bundled.score(squares)
    differences = np.abs(found.log_odds - wanted.log_odds)
    return Parity(
        squares=len(squares),
        log_odds=float(differences.max()),
        embeddings=float(np.abs(found.embeddings - wanted.embeddings).max()),
        agrees=bool((differences <= find_limit(wanted.log_odds)).all()),
    )
