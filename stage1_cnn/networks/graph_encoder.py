"""Encoders that are ONNX files: checked against their settings, and run by ONNX Runtime.

settings = settle_graph(settings)              # all that does not fit, at once
encoder = load_encoder(settings)
encoder.forward_outputs(images, ["image_embeds"])
"""

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from features.errors import ConfigError
from features.settings.sections import suggest_name
from features.settings.training import Graph, MemberSettings

TYPES = {"float32": "tensor(float)", "float16": "tensor(float16)", "uint8": "tensor(uint8)"}
"""ONNX Runtime's names of `graph.dtype`."""
GREY_LEVELS = 255
BY_BATCH = b"DynamicQuantizeLinear"
"""Names an operation whose scale is that of a whole batch: what is said of a picture would depend
on those beside it."""


class Value(NamedTuple):
    """An input or output of a graph."""

    name: str
    shape: tuple[int | None, ...]
    """`None` for a length that is not fixed."""
    kind: str


class GraphEncoder(nn.Module):
    """The graph in an ONNX file, whose bytes are a buffer, with the methods of timm's networks.

    On the CPU, whatever the device; it has no gradients.
    """

    content: Tensor

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self.num_prefix_tokens = graph.prefix_tokens
        self.pretrained_cfg = {"mean": graph.mean, "std": graph.std}
        self.register_buffer("content", torch.empty(0, dtype=torch.uint8))
        self._session: Any = None
        self._one_by_one = False

    def forward_outputs(self, images: Tensor, names: Sequence[str]) -> list[Tensor]:
        """Outputs by name, float32, of normalised RGB `(b, 3, h, w)`."""
        if images.is_meta:
            raise NotImplementedError("a graph has no shapes without values")
        session = self._open()
        (given,) = session.get_inputs()
        array = self._convert(images)
        size = given.shape[0] if isinstance(given.shape[0], int) else max(1, len(array))
        size = 1 if self._one_by_one else size
        parts = [
            session.run(names, {given.name: array[i : i + size]})
            for i in range(0, len(array), size)
        ]
        found = (np.concatenate(own).astype(np.float32) for own in zip(*parts, strict=True))
        return [torch.from_numpy(own).to(images.device) for own in found]

    def forward_head(self, features: Tensor, pre_logits: bool = True) -> Tensor:
        """An embedding as it is."""
        return features

    @property
    def quantises_batches(self) -> bool:
        """Pictures must come one by one."""
        return BY_BATCH in self.content.cpu().numpy().tobytes()

    def _convert(self, images: Tensor) -> np.ndarray:
        planes = images.detach().float().cpu()
        if self.graph.layout == "NHWC":
            planes = planes.permute(0, 2, 3, 1)
        if self.graph.dtype == "uint8":
            planes = (planes * GREY_LEVELS).round().clamp(0, GREY_LEVELS)
        return planes.contiguous().numpy().astype(self.graph.dtype)

    def _open(self) -> Any:
        if self._session is None:
            self._session = _open_session(self.content.cpu().numpy().tobytes())
            self._one_by_one = self.quantises_batches
        return self._session

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        if (content := state.get(f"{prefix}content")) is not None:  # of any length
            self.content, self._session = torch.empty_like(content), None
        super()._load_from_state_dict(state, prefix, *rest)


def load_encoder(settings: MemberSettings) -> GraphEncoder:
    """The encoder of settings with a `graph`, with what its file holds."""
    assert settings.graph is not None
    encoder = GraphEncoder(settings.graph)
    encoder.content = torch.from_numpy(np.fromfile(_locate(settings), np.uint8))
    return encoder


def count_graph(settings: MemberSettings) -> int:
    """Weights that the file of settings with a `graph` holds; those of int8 count as others do.

    Whole numbers of 64 bits are shapes and places, and no weights.
    """
    path = _locate(settings)
    return _count_weights(path, path.stat().st_mtime_ns)


@lru_cache
def _count_weights(path: Path, changed: int) -> int:
    """Of the file as it was `changed`."""
    import onnx  # late: nobody else pays for it

    graph, kinds = onnx.load(path).graph, onnx.TensorProto
    constants = [a.t for node in graph.node if node.op_type == "Constant" for a in node.attribute]
    held, no_weights = (*graph.initializer, *constants), (kinds.UNDEFINED, kinds.INT64)
    return sum(prod(tensor.dims) for tensor in held if tensor.data_type not in no_weights)


def has_graph(network: nn.Module) -> bool:
    """Whether its encoder is an ONNX file."""
    return isinstance(getattr(network, "encoder", None), GraphEncoder)


def settle_graph(settings: MemberSettings) -> MemberSettings:
    """`settings` with the side and the width of the embedding that the graph has.

    Raises `ConfigError` with all that does not fit its file.
    """
    graph, path = settings.graph, _locate(settings)
    assert graph is not None
    if not path.is_file():
        raise ConfigError("backbones", [f"model {settings.model}: there is no file {path}"])
    inputs, outputs = _read_values(path, path.stat().st_mtime_ns)
    problems, side = _find_input_problems(settings, inputs)
    found = next((value for value in outputs if value.name == graph.output), None)
    if found is None:
        hint = suggest_name(graph.output, [value.name for value in outputs])
        problems.append(f"graph.output {graph.output}: it has no such output{hint}")
    else:
        problems += _find_output_problems(settings, found)
    if problems or found is None:
        raise ConfigError("backbones", [f"{settings.model}: {problem}" for problem in problems])
    width = found.shape[1] if len(found.shape) in (2, 4) else found.shape[-1]
    return settings.model_copy(update={"image_size": side, "own_size": False, "width": width})


def _find_input_problems(
    settings: MemberSettings, inputs: tuple[Value, ...]
) -> tuple[list[str], int]:
    """What does not fit, and the side in pixels that the graph sees."""
    graph, side = settings.graph, settings.image_size
    assert graph is not None
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        shapes = ", ".join(f"{value.name} {_describe(value.shape)}" for value in inputs)
        return [f"it takes {shapes}, and pictures are one input of four axes"], side
    (given,) = inputs
    problems = []
    if given.kind != TYPES[graph.dtype]:
        names = {kind: name for name, kind in TYPES.items()}
        problems.append(f"graph.dtype {graph.dtype}: it takes {names.get(given.kind, given.kind)}")
    channels = given.shape[1 if graph.layout == "NCHW" else 3]
    sides = given.shape[2:] if graph.layout == "NCHW" else given.shape[1:3]
    if channels not in (3, None):
        problems.append(f"graph.layout {graph.layout}: it takes {_describe(given.shape)}")
        return problems, side
    fixed = {length for length in sides if length is not None}
    if len(fixed) > 1:
        problems.append(f"it takes {_describe(given.shape)}, and what is shown is square")
    elif not fixed and settings.own_size:
        problems.append("image_size own: it takes pictures of any size; say which")
    elif fixed and settings.own_size and min(fixed) > side and settings.images.mode != "crop":
        problems.append(f"image_size own: it sees {min(fixed)} pixels, and images.size is {side}")
    elif fixed and not settings.own_size and side not in fixed:
        problems.append(f"image_size {side}: it takes {min(fixed)} pixels")
    return problems, min(fixed, default=side)


def _find_output_problems(settings: MemberSettings, found: Value) -> list[str]:
    rank, shape = len(found.shape), _describe(found.shape)
    if rank not in (2, 3, 4):
        return [f"graph.output {found.name}: {shape} is no embedding"]
    problems = []
    if rank == 2 and settings.pooling is not None:
        problems.append(f"pooling {settings.pooling}: {found.name} {shape} is pooled already")
    if rank > 2 and settings.pooling is None:
        problems.append(f"pooling: {found.name} {shape} has places; say how they are pooled")
    if rank == 4 and settings.pooling == "token":
        problems.append(f"pooling token: {found.name} {shape} has no class token")
    if (found.shape[-1] if rank < 4 else found.shape[1]) is None:
        problems.append(f"graph.output {found.name}: {shape} says no length of the embedding")
    return problems


def _describe(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("?" if length is None else str(length) for length in shape) + ")"


def _locate(settings: MemberSettings) -> Path:
    return Path(settings.weights.root) / settings.model


@lru_cache
def _read_values(path: Path, changed: int) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
    """Inputs and outputs of the file as it was `changed`. Raises `ConfigError`."""
    try:
        session = _open_session(path.read_bytes())
    except Exception as error:  # onnxruntime has errors of its own for each mistake
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        problem = f"model {path}: ONNX Runtime cannot load it ({reason})"
        raise ConfigError("backbones", [problem], "Weights must lie within the file") from error

    def read(values: Any) -> tuple[Value, ...]:
        return tuple(
            Value(v.name, tuple(n if isinstance(n, int) else None for n in v.shape), v.type)
            for v in values
        )

    return read(session.get_inputs()), read(session.get_outputs())


def _open_session(content: bytes) -> Any:
    import onnxruntime  # late: nobody else pays for it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # its errors are raised
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
