"""Small encoders as ONNX files: colours of four quarters of a picture, mixed."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH = 12
MIXING = np.random.default_rng(0).normal(size=(12, WIDTH)).astype(np.float32)
KINDS = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8}


def reduce_rows(opset: int):
    """The class token: the highest value over all places."""
    if opset >= 18:
        return helper.make_node("ReduceMax", ["rows", "axes"], ["first"], keepdims=1)
    return helper.make_node("ReduceMax", ["rows"], ["first"], axes=[1], keepdims=1)


def quantise(is_on: bool):
    """Values in 256 steps between the lowest and the highest of the whole batch."""
    if not is_on:
        return [helper.make_node("Identity", ["flat"], ["mixed"])]
    parts = ["whole", "step", "zero"]
    return [
        helper.make_node("DynamicQuantizeLinear", ["flat"], parts),
        helper.make_node("DequantizeLinear", parts, ["mixed"]),
    ]


def write_graph(
    path: Path,
    layout="NCHW",
    dtype="float32",
    side=32,
    batch="batch",
    width=WIDTH,
    opset=14,
    quantised=False,
) -> None:
    """Outputs `maps` `(b, 3, 2, 2)`, `tokens` `(b, 5, 3)` and `embeds` `(b, width)`."""
    shape = [batch, 3, side, side] if layout == "NCHW" else [batch, side, side, 3]
    nodes = [
        helper.make_node("Cast", ["pictures"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node(
            "Transpose", ["floats"], ["planes"],
            perm=[0, 1, 2, 3] if layout == "NCHW" else [0, 3, 1, 2],
        ),
        helper.make_node(
            "AveragePool", ["planes"], ["maps"], kernel_shape=[16, 16], strides=[16, 16]
        ),
        helper.make_node("Reshape", ["maps", "places"], ["columns"]),
        helper.make_node("Transpose", ["columns"], ["rows"], perm=[0, 2, 1]),
        reduce_rows(opset),
        helper.make_node("Concat", ["first", "rows"], ["tokens"], axis=1),
        helper.make_node("Flatten", ["maps"], ["flat"]),
        *quantise(quantised),
        helper.make_node("MatMul", ["mixed", "mixing"], ["embeds"]),
    ]  # fmt: skip
    weights = [
        numpy_helper.from_array(MIXING[:, :width], "mixing"),
        numpy_helper.from_array(np.array([0, 3, 4], np.int64), "places"),
        numpy_helper.from_array(np.array([1], np.int64), "axes"),
    ]
    made = helper.make_graph(
        nodes,
        "quarters",
        [helper.make_tensor_value_info("pictures", KINDS[dtype], shape)],
        [
            helper.make_tensor_value_info("maps", TensorProto.FLOAT, [batch, 3, 2, 2]),
            helper.make_tensor_value_info("tokens", TensorProto.FLOAT, [batch, 5, 3]),
            helper.make_tensor_value_info("embeds", TensorProto.FLOAT, [batch, width]),
        ],
        weights,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
