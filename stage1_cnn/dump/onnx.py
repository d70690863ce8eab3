"""Networks in ONNX Runtime: on a CPU it is faster than torch, where it agrees with it."""

import logging
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from stage1_cnn.graphs.exporting import export_graph
from stage1_cnn.graphs.pixel_graph import PixelGraph
from stage1_cnn.graphs.sessions import find_limit, open_session, score_pixels
from stage1_cnn.networks.graph_encoder import has_graph
from stage1_cnn.networks.normalise import resize_pixels
from stage1_cnn.scoring.engines import Engine, Scores, TorchEngine
from stage1_cnn.scoring.processes import Processes

LEAST_PIXELS = 100_000_000
"""Fewer are scored sooner than a graph is built, which takes 3 to 7 s. At 224 px they are 2,000
images; the graph has won its time back after 600 of a resnet18, 8,000 of a small mobilenetv3."""
_log = logging.getLogger("forgerystack")


class OnnxEngine:
    """The network of a `TorchEngine` in ONNX Runtime, on the CPU: one graph, normalising too."""

    def __init__(self, engine: TorchEngine, pixels: Tensor) -> None:
        """`pixels`: a few that will be scored, `(b, s, s, 3)`. Raises whatever the export does."""
        self.device, self.side = engine.device, engine.side
        self.name = f"ONNX Runtime {version('onnxruntime')}"
        graph = PixelGraph(engine.network, engine.normalise)
        sample = resize_pixels(pixels[:2], self.side)
        self._dtype = sample.dtype  # of resized pixels float32
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.onnx"
            export_graph(graph, sample, path, external_data=True)
            self._session = open_session(path, torch.get_num_threads())

    def __call__(self, pixels: Tensor) -> Scores:
        seen = resize_pixels(pixels, self.side).to(self._dtype).contiguous()
        log_odds, embeddings = score_pixels(self._session, seen.numpy())
        return torch.from_numpy(log_odds), torch.from_numpy(embeddings)


def choose_engine(
    engine: TorchEngine,
    asked: Literal["auto", "torch"],
    pixels: Tensor,
    images: int,
    processes: Processes,
) -> Engine:
    """`engine`, or one that scores the same network faster; the same in every process.

    `pixels` are the first batch, on which both must agree; `images` are all that will be scored.
    What is taken is a matter of these and of the settings, never of the time that anything took.
    """
    fits = engine.device.type == "cpu" and engine.precision == torch.float32
    few = images * engine.side**2 < LEAST_PIXELS
    if asked == "torch" or not fits or few or has_graph(engine.network):
        return engine
    faster, reason = _try_onnx(engine, pixels)
    (failed,) = processes.any(faster is None)
    if faster is not None and not failed:
        return faster
    _log.info("torch instead of ONNX Runtime: %s", reason or "another process could not take it")
    return engine


def _try_onnx(engine: TorchEngine, pixels: Tensor) -> tuple[OnnxEngine | None, str]:
    """The engine, or `None` and why it cannot be had."""
    expected = engine(pixels)
    try:
        faster = OnnxEngine(engine, pixels)
        found = faster(pixels)
    except Exception as error:  # whatever it is, torch can do it
        lines = str(error).strip().splitlines() or [""]
        return None, f"{type(error).__name__}: {lines[0][:200]}"
    log_odds, embeddings = ((a - b).abs() for a, b in zip(found, expected, strict=True))
    if not (log_odds <= find_limit(expected[0])).all():
        return None, f"its log-odds are off by {float(log_odds.max()):.2g}"
    # Embeddings are kept as float16, whose steps are 1/2048 of a value.
    if not (embeddings <= 1e-3 * (1 + expected[1].abs())).all():
        return None, f"its embeddings are off by {float(embeddings.max()):.2g}"
    return faster, ""
