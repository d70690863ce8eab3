"""Graphs into files."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stage1_cnn.graphs.pixel_graph import PixelGraph
from stage1_cnn.graphs.sessions import INPUT, OUTPUTS


def export_graph(graph: PixelGraph, pixels: Tensor, path: Path, external_data: bool) -> None:
    """Writes the graph, for batches of any size of what `pixels` are like; raises whatever the
    exporter does.

    `external_data`: its weights go to a file beside it; else they lie within, up to 2 GB.
    """
    with _silence(), torch.no_grad():
        batch: Any = torch.export.Dim.DYNAMIC
        traced = torch.export.export(graph.eval(), (pixels,), dynamic_shapes=({0: batch},))
        program = torch.onnx.export(
            traced, input_names=[INPUT], output_names=list(OUTPUTS), verbose=False
        )
        assert program is not None
        program.save(path, external_data=external_data)


@contextmanager
def _silence() -> Iterator[None]:
    """Without the exporter's warnings, about its own workings."""
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
