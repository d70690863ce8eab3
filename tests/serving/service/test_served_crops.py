"""The service with networks that see crops, which its workers read."""

import json
import shutil
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from live_service import wait_until

from serving import Ensemble
from serving.format.files import FACTS, MANIFEST, seal_bundle
from serving.service.app import build_app
from serving.service.limits import ServiceLimits
from serving.service.service import Service


@pytest.fixture
def without_faces(parts_bundle: Path, tmp_path: Path) -> Path:
    """Workers are processes of their own, where no stand-in finds faces."""
    folder = Path(shutil.copytree(parts_bundle, tmp_path / "copy"))
    facts = json.loads((folder / FACTS).read_text())
    facts["pixels"]["faces"] = None
    (folder / FACTS).write_text(json.dumps(facts))
    (folder / MANIFEST).unlink()
    seal_bundle(folder)
    return folder


def test_pictures_are_scored_as_the_library_scores_them(
    without_faces: Path, parts_pictures: list[Path]
) -> None:
    contents = [path.read_bytes() for path in parts_pictures[:6]]
    wanted = Ensemble.load(without_faces).label(contents)
    service = Service(without_faces, ServiceLimits(), workers=1)
    with TestClient(build_app(service), base_url="http://127.0.0.1") as client:
        wait_until(lambda: service.status == "ready" or service.failure)
        assert service.failure is None
        files = [("pictures", (f"{i}.png", content)) for i, content in enumerate(contents)]
        found = client.post("/score", files=files).json()["pictures"]
    assert [one["score"] for one in found] == pytest.approx([row.score for row in wanted], abs=1e-6)
    assert {one["faces"] for one in found} == {None}
