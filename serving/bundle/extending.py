"""A frozen encoder that is a graph, as one of a bundle: pixels before it, its heads behind."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from features.settings.training import Pooling
from stage1_cnn.graphs.pixel_graph import build_resizing
from stage1_cnn.graphs.sessions import INPUT, OUTPUTS
from stage1_cnn.networks.frozen_network import Reading, read_head
from stage1_cnn.networks.graph_encoder import GREY_LEVELS
from stage1_cnn.networks.joined_network import JoinedNetwork

OWN = "forgerystack/"
"""Before the names of all that is added."""
AXES_ARE_INPUTS = 18
"""From this version of ONNX on, for `ReduceMax`."""
TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "uint8": TensorProto.UINT8,
}


def extend_graph(network: JoinedNetwork, side: int, resized_from: int, path: Path) -> None:
    """Writes `network`, whose encoder is a graph, as one from bytes of pixels to scores.

    `resized_from`: the side of the squares that it will get; `side`: of those that it sees. Raises
    `ValueError` for a graph that wants batches of one size, or pictures one by one.
    """
    if network.encoder.quantises_batches:
        raise ValueError("it quantises by the batch, so pictures must come one by one")
    model = onnx.load_from_string(network.encoder.content.cpu().numpy().tobytes())
    graph = model.graph
    held = {weight.name for weight in graph.initializer}
    (given,) = (value for value in graph.input if value.name not in held)
    if given.type.tensor_type.shape.dim[0].dim_value:
        raise ValueError("its batches are of one size")
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in graph.output}
    building = _Building(model.opset_import)
    building.show(network, given.name, side, resized_from)
    count = len(building.nodes)
    building.score(network, ranks)
    nodes = [*building.nodes[:count], *graph.node, *building.nodes[count:]]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)
    graph.initializer.extend(building.weights)
    columns = [] if len(network.heads) == 1 else [len(network.heads)]
    graph.input.append(_declare(INPUT, TensorProto.UINT8, "batch", resized_from, resized_from, 3))
    graph.output.append(_declare(OUTPUTS[0], TensorProto.FLOAT, "batch", *columns))
    graph.output.append(_declare(OUTPUTS[1], TensorProto.FLOAT, "batch", sum(network.widths)))
    onnx.save(model, path)


def _declare(name: str, kind: int, *shape: int | str) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


class _Building:
    """Nodes and weights that are added, in the model's own version of ONNX."""

    def __init__(self, imports: Any) -> None:
        self.version = next(own.version for own in imports if own.domain in ("", "ai.onnx"))
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def add(self, kind: str, inputs: list[str], output: str = "", **options: Any) -> str:
        """The name of what the new node gives."""
        output = output or f"{OWN}{len(self.nodes)}-{kind}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **options))
        return output

    def keep(self, values: npt.NDArray[Any]) -> str:
        """The name of a new weight."""
        self.weights.append(numpy_helper.from_array(values, f"{OWN}w{len(self.weights)}"))
        return str(self.weights[-1].name)

    def show(self, network: JoinedNetwork, given: str, side: int, resized_from: int) -> None:
        """From bytes of pixels to what the encoder takes, by the name `given`."""
        settings = network.encoder.graph
        planes = self.add("Cast", [INPUT], to=TensorProto.FLOAT)
        planes = self.add("Transpose", [planes], perm=[0, 3, 1, 2])
        if resized_from != side:
            lines = build_resizing(resized_from, side).numpy()
            planes = self.add("MatMul", [planes, self.keep(np.ascontiguousarray(lines.T))])
            planes = self.add("MatMul", [self.keep(lines), planes])
        if settings.dtype == "uint8":
            planes = self.add("Round", [planes])
        else:
            mean, std = (
                self.keep((GREY_LEVELS * np.array(values, np.float32)).reshape(3, 1, 1))
                for values in (settings.mean, settings.std)
            )
            planes = self.add("Div", [self.add("Sub", [planes, mean]), std])
        if settings.layout == "NHWC":
            planes = self.add("Transpose", [planes], perm=[0, 2, 3, 1])
        self.add("Cast", [planes], given, to=TYPES[settings.dtype])

    def score(self, network: JoinedNetwork, ranks: dict[str, int]) -> None:
        """From the encoder's outputs, of so many axes each, to embeddings and log-odds."""
        pairs = zip(network.readings, network.widths, strict=True)
        embeddings = [self._embed(network, ranks, *pair) for pair in pairs]
        if len(embeddings) > 1:
            self.add("Concat", embeddings, OUTPUTS[1], axis=1)
        else:
            self.add("Identity", embeddings, OUTPUTS[1])
        heads = zip(network.places, network.heads, strict=True)
        columns = [self._apply(embeddings[place], head) for place, head in heads]
        if len(columns) > 1:
            self.add("Concat", columns, OUTPUTS[0], axis=1)
        else:
            self.add("Reshape", [*columns, self.keep(np.array([-1], np.int64))], OUTPUTS[0])

    def _embed(
        self, network: JoinedNetwork, ranks: dict[str, int], reading: Reading, width: int
    ) -> str:
        """`(b, width)` of a reading."""
        assert reading.output is not None
        found = self.add("Cast", [reading.output], to=TensorProto.FLOAT)
        if reading.pooling is not None:
            prefix = network.num_prefix_tokens
            found = self._pool(found, reading.pooling, prefix, ranks[reading.output])
        return self.add("Reshape", [found, self.keep(np.array([-1, width], np.int64))])

    def _apply(self, embeddings: str, head: nn.Module) -> str:
        """Log-odds `(b, 1)` of a head: a product of its own has the bits that it has alone."""
        weight, bias = read_head(cast("nn.Linear", head))
        line = [self.keep(weight.cpu().numpy()[:, None]), self.keep(np.array([bias], np.float32))]
        return self.add("Gemm", [embeddings, *line])

    def _pool(self, found: str, pooling: Pooling, prefix: int, rank: int) -> str:
        """Tokens `(b, n, d)`, `prefix` of which stand for no place, or maps `(b, d, h, w)` to
        `(b, d)`."""
        if pooling == "token":
            return self.add("Gather", [found, self.keep(np.array(0, np.int64))], axis=1)
        axis = 1
        if rank == 4:
            columns = self.keep(np.array([0, 0, -1], np.int64))
            found, axis = self.add("Reshape", [found, columns]), 2
        elif prefix:
            bounds = (prefix, np.iinfo(np.int64).max, axis)
            places = [self.keep(np.array([bound], np.int64)) for bound in bounds]
            found = self.add("Slice", [found, *places])
        kind = "ReduceMean" if pooling == "mean" else "ReduceMax"
        if self.version >= AXES_ARE_INPUTS:
            return self.add(kind, [found, self.keep(np.array([axis], np.int64))], keepdims=0)
        return self.add(kind, [found], axes=[axis], keepdims=0)
