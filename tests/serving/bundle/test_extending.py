"""A graph with the head appended says what the member says in torch and ONNX Runtime together."""

import numpy as np
import pytest
import torch
from graph_files import WIDTH, write_graph
from onnx import TensorProto, helper, numpy_helper
from small_task import make_settings
from torch.utils.flop_counter import FlopCounterMode

from features.settings.training import Graph, Weights
from serving.bundle.counting import count_operations
from serving.bundle.extending import extend_graph
from stage1_cnn.graphs.sessions import open_session, score_pixels
from stage1_cnn.networks.frozen_network import set_head
from stage1_cnn.networks.graph_encoder import GraphEncoder, load_encoder
from stage1_cnn.networks.joined_network import JoinedNetwork
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
    extend_graph(JoinedNetwork([network]), 32, 48, tmp_path / "whole.onnx")
    found = score_pixels(open_session(tmp_path / "whole.onnx", threads=1), PIXELS)
    engine = build_torch_engine(network, settings, torch.device("cpu"))
    wanted = engine(resize_pixels(torch.from_numpy(PIXELS), 32))
    # A resized pixel between two grey levels may be rounded to either.
    tolerance = {"atol": 0.05} if dtype == "uint8" else {"rtol": 1e-4, "atol": 1e-4}
    for got, expected in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, expected.numpy(), **tolerance)


@pytest.mark.parametrize("opset", [14, 20])
def test_each_head_of_a_graph_says_what_it_says_alone(tmp_path, opset):
    """To the bit, whatever it reads: several outputs, and one of them pooled in several ways."""
    write_graph(tmp_path / "quarters.onnx", opset=opset)
    readings = [
        ("embeds", None), ("tokens", "mean"), ("tokens", "token"), ("maps", "max"), ("embeds", None)
    ]  # fmt: skip
    networks, wanted = [], []
    for place, (output, pooling) in enumerate(readings):
        settings = make_settings(
            kind="frozen", model="quarters.onnx", weights=Weights(root=str(tmp_path)),
            graph=Graph(output=output), pooling=pooling,
        )  # fmt: skip
        settings = settle_network(settings)
        network = build_network(settings)
        set_head(network, torch.linspace(-0.1, 0.3, settings.width).roll(place), place - 0.7)
        extend_graph(JoinedNetwork([network]), 32, 48, tmp_path / "one.onnx")
        wanted.append(score_pixels(open_session(tmp_path / "one.onnx", threads=1), PIXELS))
        networks.append(network)
    joined = JoinedNetwork(networks)
    extend_graph(joined, 32, 48, tmp_path / "all.onnx")
    log_odds, embeddings = score_pixels(open_session(tmp_path / "all.onnx", threads=1), PIXELS)
    np.testing.assert_array_equal(log_odds, np.stack([own for own, _ in wanted], axis=1))
    assert embeddings.shape[1] == WIDTH + 3 + 3 + 3
    for span, (_, alone) in zip(joined.spans, wanted, strict=True):
        np.testing.assert_array_equal(embeddings[:, span], alone)


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
        extend_graph(JoinedNetwork([network]), 32, 48, tmp_path / "whole.onnx")


def open_encoder(folder, output, **changes):
    write_graph(folder / "quarters.onnx", **changes)
    settings = make_settings(
        kind="frozen", model="quarters.onnx", weights=Weights(root=str(folder)),
        graph=Graph(output=output), pooling=None if output == "embeds" else "max",
    )  # fmt: skip
    return load_encoder(settle_network(settings))


def test_the_work_of_a_graph_is_counted(tmp_path):
    """A cascade begins with what costs least, and torch sees nothing of a graph."""
    product = 2 * WIDTH * 12
    assert count_operations(open_encoder(tmp_path, "embeds"), 32, ["embeds"]) == product
    assert count_operations(open_encoder(tmp_path, "embeds", batch=4), 32, ["embeds"]) == product
    tokens = open_encoder(tmp_path, "tokens")
    assert count_operations(tokens, 32, ["tokens"]) == 0  # without the last layer
    assert count_operations(tokens, 32, ["tokens", "embeds"]) == product


def test_convolutions_are_counted_place_by_place(tmp_path):
    network = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1)
    node = helper.make_node("Conv", ["x", "w"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1])
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])
        for name, shape in (("x", (3, 32, 32)), ("y", (8, 16, 16)))
    ]
    weight = numpy_helper.from_array(network.weight.detach().numpy(), "w")
    made = helper.make_graph([node], "layer", values[:1], values[1:], [weight])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    encoder = GraphEncoder(Graph(output="y"))
    encoder.content = torch.frombuffer(bytearray(model.SerializeToString()), dtype=torch.uint8)
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, 32, 32))
    assert count_operations(encoder, 32, ["y"]) == counter.get_total_flops()
