"""A graph with the head appended says what the member says in torch and ONNX Runtime together."""

import numpy as np
import pytest
import torch
from graph_files import write_graph
from small_task import make_settings

from features.settings.training import Graph, Weights
from serving.bundle.extending import extend_graph
from stage1_cnn.graphs.sessions import open_session, score_pixels
from stage1_cnn.networks.frozen_network import set_head
from stage1_cnn.networks.network import build_network, settle_network
from stage1_cnn.networks.normalise import resize_pixels
from stage1_cnn.scoring.engines import build_torch_engine

PIXELS = np.random.default_rng(1).integers(0, 256, (5, 48, 48, 3), np.uint8)


@pytest.mark.parametrize(
    ("output", "pooling"),
    [
        ("embeds", None),
        ("maps", "mean"),
        ("maps", "max"),
        ("tokens", "token"),
        ("tokens", "mean"),
        ("tokens", "max"),
    ],
)
@pytest.mark.parametrize(
    ("layout", "dtype", "opset"), [("NCHW", "float32", 14), ("NHWC", "uint8", 20)]
)
def test_scores_are_those_of_the_member(tmp_path, output, pooling, layout, dtype, opset):
    write_graph(tmp_path / "quarters.onnx", layout, dtype, opset=opset)
    scale = {} if dtype == "uint8" else {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3)}
    settings = make_settings(
        kind="frozen", model="quarters.onnx", weights=Weights(root=str(tmp_path)), pooling=pooling,
        graph=Graph(output=output, layout=layout, dtype=dtype, **scale),
    )  # fmt: skip
    settings = settle_network(settings)
    network = build_network(settings)
    set_head(network, torch.linspace(-0.01, 0.02, settings.width), 0.5)
    extend_graph(network, 32, 48, tmp_path / "whole.onnx")
    found = score_pixels(open_session(tmp_path / "whole.onnx", threads=1), PIXELS)
    engine = build_torch_engine(network, settings, torch.device("cpu"))
    wanted = engine(resize_pixels(torch.from_numpy(PIXELS), 32))
    # A resized pixel between two grey levels may be rounded to either.
    tolerance = {"atol": 0.05} if dtype == "uint8" else {"rtol": 1e-4, "atol": 1e-4}
    for got, expected in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, expected.numpy(), **tolerance)


@pytest.mark.parametrize(
    ("changes", "said"), [({"batch": 1}, "of one size"), ({"quantised": True}, "one by one")]
)
def test_a_graph_without_batches_of_any_size_is_refused(tmp_path, changes, said):
    write_graph(tmp_path / "quarters.onnx", **changes)
    settings = make_settings(
        kind="frozen", model="quarters.onnx", weights=Weights(root=str(tmp_path)),
        graph=Graph(output="embeds"),
    )  # fmt: skip
    network = build_network(settle_network(settings))
    with pytest.raises(ValueError, match=said):
        extend_graph(network, 32, 48, tmp_path / "whole.onnx")
