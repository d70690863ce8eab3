"""What a bundle holds, that it appears whole, and what cannot be bundled."""

import json
import shutil
import sys
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tiny_project import make_bundle

from features.core.files import digest_file
from features.errors import BundleError, StaleArtifactError
from features.settings.sections import load_params
from serving import Ensemble
from serving.bundle import networks as bundled
from serving.bundle import run as module
from serving.bundle.settings import BundleParams
from serving.reading.pictures import name_picture
from serving.reading.shown import join_rows
from serving.scoring.needs import Needs
from stage1_cnn.dump.onnx import OnnxEngine
from stage1_cnn.dump.parts import build_engine
from stage1_cnn.networks.member import read_member


@pytest.fixture
def copy(project: Path, tmp_path: Path) -> Path:
    """A copy of the project, to be changed."""
    return Path(shutil.copytree(project, tmp_path / "project"))


@pytest.fixture
def known_graphs(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks need not be exported: the bundle of them all has their graphs."""

    def copy_graph(_engine: object, _given: int, path: Path) -> None:
        shutil.copy(bundle / "members" / path.name, path)

    monkeypatch.setattr(bundled, "_write_graph", copy_graph)


def test_a_bundle_says_what_it_holds(bundle: Path, ensemble: Ensemble) -> None:
    facts = ensemble.facts
    assert {m.name for m in facts.members} == {"noise-0", "small-0"}
    small = next(m for m in facts.members if m.backbone == "small")
    assert (small.side, small.tta, small.licence) == (32, "six", "")
    assert small.model.startswith("test_resnet")
    for member in facts.members:
        assert member.kind == "onnx"
        assert member.parity is not None
        assert member.parity.agrees
        assert member.parity.log_odds < 1e-3
        assert member.parity.squares == 32
    assert (facts.pixels.size, facts.pixels.equalize) == (48, False)
    assert {"numpy", "onnxruntime", "torch", "python"} <= facts.versions.keys()


def test_nothing_in_it_is_pickled_and_everything_is_sealed(bundle: Path) -> None:
    files = {p.relative_to(bundle).as_posix() for p in bundle.rglob("*") if p.is_file()}
    sums = json.loads((bundle / "MANIFEST.json").read_text())["sha256"]
    assert sums.keys() == files - {"MANIFEST.json"}
    assert all(digest_file(bundle / name) == digest for name, digest in sums.items())
    endings = {Path(name).suffix for name in files}
    assert endings <= {".json", ".onnx", ".npy", ".txt", ".md", ".jpg", ".png", ".webp"}
    for path in bundle.rglob("*.npy"):
        np.load(path, allow_pickle=False)


def test_samples_travel_with_what_they_are(bundle: Path, ensemble: Ensemble, project: Path) -> None:
    samples = ensemble.facts.samples
    assert [sample.label for sample in samples] == ["real", "fake"] * 2
    for sample in samples:
        original = project / "data/demo/valset" / sample.name
        assert (bundle / sample.file).read_bytes() == original.read_bytes()


@pytest.mark.usefixtures("known_graphs")
def test_no_picture_travels_unasked(project: Path, tmp_path: Path) -> None:
    out = make_bundle(project, tmp_path / "none", samples=0)
    assert not [path for path in out.rglob("*") if path.suffix in (".png", ".jpg", ".webp")]
    facts = Ensemble.load(out).facts
    assert (facts.samples, facts.neighbours) == ((), 0)


def test_what_is_there_and_no_bundle_is_left_alone(project: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a.txt").write_text("mine")
    with pytest.raises(BundleError, match="no bundle"):
        make_bundle(project, tmp_path / "notes")
    assert [p.name for p in (tmp_path / "notes").iterdir()] == ["a.txt"]


@pytest.mark.usefixtures("known_graphs")
def test_a_bundle_appears_whole_or_not_at_all(
    project: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that was there before stays until then."""
    out = Path(shutil.copytree(bundle, tmp_path / "ensemble"))
    before = digest_file(out / "MANIFEST.json")
    monkeypatch.setattr(module, "check_samples", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make_bundle(project, out)
    assert digest_file(out / "MANIFEST.json") == before
    assert [path.name for path in tmp_path.iterdir()] == ["ensemble"]


def test_a_member_that_onnx_cannot_hold_travels_as_weights_and_needs_torch(
    project: Path, pictures: list[Path], tmp_path: Path, ensemble: Ensemble,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(bundled, "export_graph", refuse)
    out = make_bundle(project, tmp_path / "torch")
    found = Ensemble.load(out)
    assert {m.kind for m in found.facts.members} == {"torch"}
    assert "no such operator" in found.facts.members[0].reason
    np.testing.assert_allclose(
        found.predict_proba(pictures), ensemble.predict_proba(pictures), atol=1e-5
    )
    monkeypatch.setitem(sys.modules, "serving.scoring.torch_network", None)
    with pytest.raises(BundleError, match="so it needs torch") as error:
        Ensemble.load(out)
    assert "pip install 'forgerystack[train]'" in str(error.value)


def test_members_that_were_trained_again_are_refused(copy: Path) -> None:
    with chdir(copy):
        params = load_params(BundleParams)
        second_stage = module.read_ensemble(module.STACKERS)
        stale = replace(second_stage, digests={0: ("0" * 64, "1" * 64)})
        with pytest.raises(StaleArtifactError, match="stack"):
            module.read_project_members(params, stale)


def test_an_ensemble_that_looks_at_files_cannot_be_bundled(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs = Needs((), forensics=False, file_facts=True)
    monkeypatch.setattr(module, "find_needs", lambda *_: needs)
    with pytest.raises(BundleError, match="facts of files"):
        make_bundle(copy, copy / "ensemble")


@pytest.mark.usefixtures("known_graphs")
def test_pictures_are_resized_and_refused_as_the_project_says(copy: Path, tmp_path: Path) -> None:
    params = yaml.safe_load((copy / "params.yaml").read_text())
    params["data"] |= {"max_pixels": 4000, "formats": ["JPEG"]}
    (copy / "params.yaml").write_text(yaml.safe_dump(params))
    out = make_bundle(copy, tmp_path / "strict", samples=1)
    large = np.zeros((100, 100, 3), np.uint8)
    (row,) = Ensemble.load(out).label([large])
    assert row.status == "100 x 100 pixels, above max_pixels 4000"


def test_a_dump_by_onnx_runtime_has_the_bits_of_the_bundle(
    project: Path, ensemble: Ensemble, pictures: list[Path]
) -> None:
    """Whatever the batches: the graph is the same."""
    folder = project / "artifacts/members/noise/0"
    torch_engine = build_engine(read_member(folder, "noise", 0), folder, 48, torch.device("cpu"))
    given = [name_picture(path, 0) for path in pictures]
    (whole,) = sights = ensemble.scorer.list_sights()
    read = [ensemble.reader.read(picture, sights).rows for picture in given]
    squares = join_rows(read).by_sight[whole].pixels
    pixels = torch.from_numpy(squares)
    torch_engine(pixels)
    wanted = [found.numpy() for found in OnnxEngine(torch_engine, pixels)(pixels)]
    [facts] = [facts for facts in ensemble.facts.members if facts.name == "noise-0"]
    network = ensemble.scorer.get_network(facts)
    for size in (1, 7, len(squares)):
        batches = [squares[i : i + size] for i in range(0, len(squares), size)]
        log_odds, embeddings = zip(*map(network.score, batches), strict=True)
        np.testing.assert_array_equal(wanted[0], np.concatenate(log_odds)[:, 0])
        np.testing.assert_array_equal(wanted[1], np.concatenate(embeddings))


@pytest.mark.usefixtures("known_graphs")
def test_a_graph_that_is_further_off_is_not_taken(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = bundled.BundledNetwork.score
    monkeypatch.setattr(
        bundled.BundledNetwork,
        "score",
        lambda self, squares: (found := score(self, squares))._replace(
            log_odds=found.log_odds + np.float32(2e-3)
        ),
    )
    monkeypatch.setattr(module, "check_samples", lambda _: 0.0)
    out = make_bundle(project, tmp_path / "off", samples=0)
    members = json.loads((out / "bundle.json").read_text())["members"]
    assert {member["kind"] for member in members} == {"torch"}
    assert all("off by 0.002" in member["reason"] for member in members)
