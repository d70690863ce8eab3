"""Networks of a project into files of a bundle, each held against torch."""

import json
import logging
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode

from features.settings.training import MemberSettings
from serving.bundle.checking import CHECKED
from serving.bundle.counting import count_operations
from serving.bundle.extending import extend_graph
from serving.bundle.opening import TorchNetwork
from serving.format.facts import MemberFacts, Parity
from serving.format.files import MEMBERS
from serving.reading.shown import RowSquares
from serving.scoring.networks import BundledNetwork, NetworkScores
from serving.scoring.torch_network import SETTINGS
from serving.scoring.views import SQUARE_VIEWS, Squares
from stage1_cnn.graphs.exporting import export_graph
from stage1_cnn.graphs.pixel_graph import PixelGraph
from stage1_cnn.graphs.sessions import find_limit
from stage1_cnn.networks.frozen_network import FrozenNetwork
from stage1_cnn.networks.graph_encoder import has_graph
from stage1_cnn.networks.joined_network import JoinedNetwork
from stage1_cnn.scoring.engines import TorchEngine

_log = logging.getLogger("forgerystack")


def write_network(source: TorchNetwork, rows: RowSquares, bundle: Path) -> list[MemberFacts]:
    """As a graph where ONNX can hold it, and all its members agree with torch on squares of `rows`;
    else its weights."""
    (bundle / MEMBERS).mkdir(exist_ok=True)
    facts = _describe(source, float(rows.counts.mean()) if len(rows.counts) else 1.0)
    path = bundle / facts[0].file
    try:
        _write_graph(source.engine, source.sees.side, path)
        parities = _measure_parity(source, facts, BundledNetwork(bundle, facts[0]), rows.pixels)
        apart = [parity.log_odds for parity in parities if not parity.agrees]
        reason = f"its log-odds are off by {max(apart):.2g}" if apart else ""
    except Exception as error:  # whatever it is, torch can do it
        lines = str(error).strip().splitlines() or [""]
        reason = f"{type(error).__name__}: {lines[0][:200]}"
    if not reason:
        _log.info(
            "bundle %s: graph and torch differ by %.2g in log-odds and %.2g in embeddings, at most",
            source.name, max(p.log_odds for p in parities), max(p.embeddings for p in parities),
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
    settings = [member.settings.model_dump(mode="json") for member in source.members]
    state = {name: value.contiguous() for name, value in source.engine.network.state_dict().items()}
    save_file(state, path, {SETTINGS: json.dumps(settings)})


def _write_graph(engine: TorchEngine, given: int, path: Path) -> None:
    """For squares of `given` pixels. Raises whatever an exporter does."""
    frozen = _find_frozen(engine)
    if frozen is not None and has_graph(frozen):
        extend_graph(frozen, engine.side, given, path)
        return
    graph = PixelGraph(engine.network, engine.normalise, resized_from=given)
    blank = torch.zeros(2, given, given, 3, dtype=torch.uint8)
    export_graph(graph, blank, path, external_data=False)


def _find_frozen(engine: TorchEngine) -> JoinedNetwork | None:
    """A network with a frozen encoder, by its heads; `None` for one that was trained."""
    network = engine.network
    if isinstance(network, FrozenNetwork):
        return JoinedNetwork([network])
    return network if isinstance(network, JoinedNetwork) else None


def _describe(source: TorchNetwork, squares: float) -> list[MemberFacts]:
    """Its members as a graph, until it proves to be none; `squares`: of a picture on average."""
    frozen = _find_frozen(source.engine)
    blank = torch.zeros(1, source.engine.side, source.engine.side, 3, dtype=torch.uint8)
    with FlopCounterMode(display=False) as counter:
        width = source.engine(blank)[1].shape[1]
    operations = counter.get_total_flops()
    if frozen is not None and has_graph(frozen):
        outputs = [reading.output for reading in frozen.readings if reading.output]
        operations += count_operations(frozen.encoder, source.engine.side, outputs)
    operations *= len(SQUARE_VIEWS[source.scoring.tta]) * squares
    facts = []
    for head, member in enumerate(source.members):
        span, own = slice(0, width), member.parameters
        if frozen is not None:
            span = frozen.spans[head]
            own = sum(parameter.numel() for parameter in frozen.heads[head].parameters())
        pretrained, licence = _name_weights(member.settings)
        facts.append(
            MemberFacts(
                backbone=member.id.backbone,
                fold=member.id.fold,
                model=member.settings.model,
                kind="onnx",
                file=f"{MEMBERS}/{source.name}.onnx",
                head=head,
                digest=member.id.digest,
                correction=member.id.correction,
                sees=source.sees,
                side=source.engine.side,
                tta=source.scoring.tta,
                start=span.start,
                width=span.stop - span.start,
                parameters=own,
                encoder_parameters=member.parameters - own,
                frozen=frozen is not None,
                operations=round(operations),
                pretrained=pretrained,
                licence=licence,
                parity=None,
            )
        )
    return facts


def _name_weights(settings: MemberSettings) -> tuple[str, str]:
    """Where training began, and the licence of that as timm names it."""
    config = timm.get_pretrained_cfg(settings.model) if settings.graph is None else None
    known = settings.pretrained is True and config is not None
    named = settings.pretrained is True or settings.graph is not None
    pretrained = settings.model if named else settings.pretrained or ""
    return str(pretrained), (config.license or "") if known and config is not None else ""


def _measure_parity(
    source: TorchNetwork, members: list[MemberFacts], bundled: BundledNetwork, squares: Squares
) -> list[Parity]:
    """By member, on at most `CHECKED` squares, evenly spread over those that there are."""
    if len(squares):
        count = min(len(squares), CHECKED)
        squares = squares[np.linspace(0, len(squares) - 1, count).round().astype(int)]
    else:
        squares = np.zeros((2, source.sees.side, source.sees.side, 3), np.uint8)
    wanted, found = source.score(squares), bundled.score(squares)
    return [_compare(len(squares), facts, found, wanted) for facts in members]


def _compare(
    squares: int, facts: MemberFacts, found: NetworkScores, wanted: NetworkScores
) -> Parity:
    """What is said of one member."""
    torchs = wanted.log_odds[:, facts.head]
    differences = np.abs(found.log_odds[:, facts.head] - torchs)
    embeddings = np.abs(found.embeddings[:, facts.span] - wanted.embeddings[:, facts.span])
    return Parity(
        squares=squares,
        log_odds=float(differences.max()),
        embeddings=float(embeddings.max()),
        agrees=bool((differences <= find_limit(torchs)).all()),
    )
