"""What the graph of a frozen encoder computes for one picture; torch counts its own networks."""

from collections.abc import Collection
from math import prod

import numpy as np
import onnx
import onnxruntime

from stage1_cnn.networks.graph_encoder import GraphEncoder

SECOND = {"QLinearConv": 3}
"""Where the second factor stands among the inputs, if not at 1."""


def count_operations(encoder: GraphEncoder, side: int, outputs: Collection[str]) -> int:
    """Multiplications and additions of the convolutions and matrix products behind `outputs`.

    Lengths are those of a black picture of `side` pixels that the graph is shown.
    """
    model = onnx.load_from_string(encoder.content.cpu().numpy().tobytes())
    weights = {weight.name: tuple(weight.dims) for weight in model.graph.initializer}
    counted = [node for node in _list_behind(model.graph, outputs) if _is_product(node)]
    names = {name for node in counted for name in _name_factors(node)} - weights.keys()
    measured, pictures = _measure(model, sorted(names), encoder, side)
    lengths = weights | measured
    products = (_count(node, *(lengths[name] for name in _name_factors(node))) for node in counted)
    return sum(products) // pictures


def _is_product(node: onnx.NodeProto) -> bool:
    return any(kind in node.op_type for kind in ("MatMul", "Gemm", "Conv"))


def _name_factors(node: onnx.NodeProto) -> tuple[str, str, str]:
    """Both factors and the product."""
    return node.input[0], node.input[SECOND.get(node.op_type, 1)], node.output[0]


def _count(
    node: onnx.NodeProto, first: tuple[int, ...], second: tuple[int, ...], product: tuple[int, ...]
) -> int:
    if "Conv" in node.op_type:
        return 2 * prod(product) * prod(second[1:])
    turned = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return 2 * prod(product) * first[0 if turned else -1]


def _list_behind(graph: onnx.GraphProto, outputs: Collection[str]) -> list[onnx.NodeProto]:
    """The nodes that `outputs` depend on."""
    found, wanted = [], set(outputs)
    for node in reversed(graph.node):  # which are in order
        if wanted & set(node.output):
            found.append(node)
            wanted |= set(node.input)
    return found


def _measure(
    model: onnx.ModelProto, names: list[str], encoder: GraphEncoder, side: int
) -> tuple[dict[str, tuple[int, ...]], int]:
    """Lengths of the axes of these values, and how many pictures they are of: one, or a batch that
    is of one size.
    """
    known = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in known)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its errors are raised
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (given,) = session.get_inputs()
    count = given.shape[0] if isinstance(given.shape[0], int) else 1
    picture = (3, side, side) if encoder.graph.layout == "NCHW" else (side, side, 3)
    black = np.zeros((count, *picture), encoder.graph.dtype)
    values = session.run(names, {given.name: black}) if names else []
    return {name: value.shape for name, value in zip(names, values, strict=True)}, count
