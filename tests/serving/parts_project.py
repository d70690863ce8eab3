"""A finished project of pictures of many shapes, with up to two faces, which are rows beside them.

Three networks: one sees the whole stretched to a square, one fitted into it, one crops. A face is a
red square, and what finds it a stand-in.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_project import read_preset, run_stages

from features.prepare import face_rows
from features.settings.images import Faces
from serving.bundle import run as bundling
from serving.format.facts import FaceFacts
from serving.reading import reader

BACKBONES = {
    "whole": {"model": "test_resnet", "image_size": 32},
    "fitted": {"model": "test_resnet", "images": {"mode": "fit"}},
    "crops": {"model": "test_resnet", "image_size": 32, "images": {"mode": "crop"}},
}
SHAPES = ((96, 96), (96, 60), (70, 96), (40, 88))
"""Heights and widths, in turn."""
FACE, FACES = 20, (0, 1, 2)
"""Side of a face, and how many pictures have, in turn."""


class RedSquares:
    """Finds what `add_faces` drew, the largest first."""

    def __init__(self, graph: bytes | None = None) -> None:
        assert graph in (None, b"a graph")

    def detect(self, pixels: np.ndarray) -> np.ndarray:
        """As `Detector`."""
        red = (pixels[..., 0] > 200) & (pixels[..., 1] < 90)
        columns = (red.sum(axis=0) >= 8).astype(int)
        steps = np.diff(columns, prepend=0, append=0)
        found = []
        for left, right in zip(np.flatnonzero(steps > 0), np.flatnonzero(steps < 0), strict=True):
            lines = np.flatnonzero(red[:, left:right].sum(axis=1) >= 4)
            found.append([left, lines[0], right - left, lines[-1] - lines[0] + 1, 0.9])
        boxes = np.array(found, np.float32).reshape(-1, 5)
        return boxes[np.argsort(-boxes[:, 2] * boxes[:, 3], kind="stable")]


def add_faces(pixels: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """A picture without red, but for so many faces."""
    drawn = pixels.copy()
    drawn[..., 0] = np.minimum(drawn[..., 0], 180)
    for number in range(count):
        left = 4 + 30 * number
        face = drawn[12 : 12 + FACE, left : left + FACE]
        face[..., 0], face[..., 1] = 250, 20
        face[..., 2] = rng.integers(0, 256, face.shape[:2])
    return drawn


def change_pictures(data: Path) -> None:
    """Shapes and faces in turn, also within each class."""
    for folder in ("trainset", "valset", "testset"):
        for number, path in enumerate(sorted((data / folder).iterdir())):
            height, width = SHAPES[number % len(SHAPES)]
            pixels = np.asarray(Image.open(path).convert("RGB"))[:height, :width]
            rng = np.random.default_rng(number)
            faces = FACES[number // len(SHAPES) % len(FACES)]
            Image.fromarray(add_faces(pixels, faces, rng)).save(path, "PNG")


@contextmanager
def stand_in() -> Iterator[None]:
    """Within, faces are red squares, to `prepare` and to bundles."""

    def write_detector(faces: Faces, folder: Path) -> FaceFacts:
        (folder / "faces.onnx").write_bytes(b"a graph")
        values = faces.model_dump(include=set(Faces.model_fields))
        return FaceFacts(**values, file="faces.onnx", source="tests", licence="", sha256="")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(face_rows, "Detector", RedSquares)
        patch.setattr(reader, "Detector", RedSquares)
        patch.setattr(bundling, "write_detector", write_detector)
        yield


def make_parts_project(folder: Path) -> Path:
    """Runs all stages up to labels in `folder`, within `stand_in`."""
    params = read_preset()
    params["demo"] = {"train": 72, "val": 12, "test": 12, "size": 96}
    params["images"] |= {"faces": "both", "face_count": "all", "face_margin": 0.3}
    params["backbones"] = BACKBONES
    params["dump"] = {"tta": "none", "crops": 3, "backbones": {"crops": {"tta": "hflip"}}}
    params["stack"]["candidates"] = []
    params["gate"]["ship"] = "mean"
    return run_stages(folder, params, change_pictures)
