"""Graphs in ONNX Runtime, on the CPU. Needs no torch.

session = open_session(Path("resnet-0.onnx"), threads=1)
log_odds, embeddings = score_pixels(session, pixels)
"""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

INPUT, OUTPUTS = "pixels", ("log_odds", "embeddings")
"""Names that a graph has for them."""
UNWANTED = ["ConvMulFusion"]
"""It takes the scale of the noise filters into their taps, which are whole numbers: sums are no
longer exact, and log-odds come five times as far from those of torch."""
TOLERANCE, SHARE = 1e-4, 1e-5
"""How far log-odds of a graph may be from those of torch: so much, and this share of the largest of
them. What is lost by rounding grows with the numbers in a network, not with what is left of them
for one picture: of a trained network whose log-odds reach 49, those of torch were up to 1.8e-4
away from the same network in float64, those of its graph 1.0e-4."""
Single = npt.NDArray[np.float32]


def open_session(path: Path, threads: int, spinning: bool = True) -> Any:
    """A session of onnxruntime; many threads may ask it.

    `spinning`: its threads wait for each other without sleep, which is faster unless others need
    the cores.
    """
    import onnxruntime  # late: nobody else pays for it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only
    _share_memory()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    return onnxruntime.InferenceSession(
        path, options, providers=["CPUExecutionProvider"], disabled_optimizers=UNWANTED
    )


@functools.cache
def _share_memory() -> None:
    """One arena for all graphs of this process: each of its own would keep what its largest batch
    took, though one runs after the other (two of lite0: 200 MB instead of 300)."""
    import onnxruntime

    kind = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    place = onnxruntime.OrtMemoryInfo("Cpu", kind, 0, onnxruntime.OrtMemType.DEFAULT)
    onnxruntime.create_and_register_allocator(place, None)


def score_pixels(session: Any, pixels: npt.NDArray[Any]) -> tuple[Single, Single]:
    """Log-odds of fake `(b,)` and embeddings `(b, d)` of what the graph takes."""
    log_odds, embeddings = session.run(OUTPUTS, {INPUT: pixels})
    return log_odds, embeddings


def find_limit(log_odds: npt.ArrayLike) -> float:
    """How far from these `(n,)`, of one network, others of the same pixels may be."""
    return TOLERANCE + SHARE * float(np.abs(np.asarray(log_odds)).max(initial=0))
