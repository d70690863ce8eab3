"""The folds of a frozen encoder are one network of a bundle: held once, asked once."""

import shutil
from collections import Counter
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from frozen_project import FOLDS, make_frozen_project
from made_once import make_once
from tiny_project import make_bundle

from features.errors import BundleError
from features.settings.sections import load_params
from serving import Ensemble
from serving.bundle import networks as bundled
from serving.bundle import run as module
from serving.bundle.settings import BundleParams
from serving.reading.pictures import name_picture
from serving.reading.shown import RowSquares, ShownRows, join_rows
from serving.scoring.networks import BundledNetwork
from serving.sheet.facts import gather_facts
from stage1_cnn.networks.graph_encoder import GraphEncoder

FILES = {"tower.onnx", "quarters.safetensors"}


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return make_once(tmp_path_factory, "frozen encoders", make_frozen_project)


@pytest.fixture(scope="module")
def shared(frozen: Path, tmp_path_factory: pytest.TempPathFactory) -> Ensemble:
    folder = tmp_path_factory.mktemp("shared") / "ensemble"
    return Ensemble.load(make_bundle(frozen, folder, samples=2))


@pytest.fixture(scope="module")
def apart(frozen: Path, tmp_path_factory: pytest.TempPathFactory) -> Ensemble:
    """The same with a file for each fold."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "share_encoders", lambda members: [(member,) for member in members])
        folder = tmp_path_factory.mktemp("apart") / "ensemble"
        return Ensemble.load(make_bundle(frozen, folder, samples=0))


@pytest.fixture
def given(frozen: Path) -> list[Path]:
    """Pictures of the test list."""
    return sorted((frozen / "data/demo/testset").iterdir())[:5]


def show(ensemble: Ensemble, pictures: list[Path]) -> ShownRows:
    sights = ensemble.scorer.list_sights(all_members=True)
    return join_rows(
        [ensemble.reader.read(name_picture(path, 0), sights).rows for path in pictures]
    )


def test_an_encoder_lies_in_one_file_with_a_head_for_each_fold(
    shared: Ensemble, apart: Ensemble
) -> None:
    folder = shared.bundle.folder / "members"
    assert {path.name for path in folder.iterdir()} == FILES
    found = {own.name: (own.kind, Path(own.file).name, own.head) for own in shared.facts.members}
    backbones = shared.scorer.second_stage.backbones
    assert list(found) == [f"{name}-{fold}" for fold in FOLDS for name in backbones]
    for fold in FOLDS:
        assert found[f"tower-{fold}"] == ("onnx", "tower.onnx", fold)
        assert found[f"quarters-{fold}"] == ("torch", "quarters.safetensors", fold)
    for name in FILES:
        whole = Path(name)
        alone = apart.bundle.folder / "members" / f"{whole.stem}-0{whole.suffix}"
        assert (folder / name).stat().st_size < 1.1 * alone.stat().st_size


def test_members_keep_what_is_their_own(shared: Ensemble, apart: Ensemble) -> None:
    other = {member.name: member for member in apart.facts.members}
    for member in shared.facts.members:
        alone = other[member.name]
        for name in ("digest", "correction", "sees", "side", "tta", "width", "parameters"):
            assert getattr(member, name) == getattr(alone, name)
        assert member.parity == alone.parity
    assert len({member.digest for member in shared.facts.members}) == 4


def test_scores_are_those_of_folds_that_are_asked_one_by_one_to_the_bit(
    shared: Ensemble, apart: Ensemble, given: list[Path]
) -> None:
    rows = show(shared, given)
    ours, theirs = (own.scorer.ask_members(rows, all_members=True) for own in (shared, apart))
    for name, log_odds in theirs.log_odds.items():
        np.testing.assert_array_equal(ours.log_odds[name], log_odds)
    for own, other in zip(ours.columns, theirs.columns, strict=True):
        for found, wanted in zip(own.embeddings, other.embeddings, strict=True):
            np.testing.assert_array_equal(found, wanted)
    found = [own.label(given) for own in (shared, apart)]
    assert [row.log_odds for row in found[0]] == [row.log_odds for row in found[1]]


def test_scores_are_those_of_the_project(shared: Ensemble, frozen: Path, given: list[Path]) -> None:
    wanted = pd.read_csv(frozen / "artifacts/labels.csv").set_index("img_name")["log_odds"]
    rows = shared.label(given)
    assert [row.log_odds for row in rows] == pytest.approx(
        [wanted[path.name] for path in given], abs=1e-4
    )


def test_an_encoder_is_asked_once_for_all_folds(
    shared: Ensemble, given: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Counter[str] = Counter()
    score, encode = BundledNetwork.score, GraphEncoder.forward_outputs

    def count(network: BundledNetwork, squares: np.ndarray):
        asked[network.facts.file] += 1
        return score(network, squares)

    def count_graph(encoder: GraphEncoder, images: torch.Tensor, names: list[str]):
        asked["graph"] += 1
        return encode(encoder, images, names)

    monkeypatch.setattr(BundledNetwork, "score", count)
    monkeypatch.setattr(GraphEncoder, "forward_outputs", count_graph)
    columns = shared.scorer.ask_members(show(shared, given), all_members=True).columns
    assert asked == {"graph": 1} | {f"members/{name}": 1 for name in FILES}
    for pair in zip(*(own.embeddings for own in columns), strict=True):
        assert pair[0] is pair[1]


def test_a_sheet_explains_such_a_bundle(shared: Ensemble, given: list[Path]) -> None:
    found = gather_facts(shared, given[0].read_bytes(), "a.png")
    assert {own.scorer for own in found.maps} == {"", "tower", "quarters"}
    [tower] = [own for own in found.maps if own.scorer == "tower"]
    assert tower.loudest is not None


def test_where_one_head_is_off_all_folds_are_in_torch(
    frozen: Path, shared: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = shared.bundle.folder / "members/tower.onnx"
    monkeypatch.setattr(bundled, "_write_graph", lambda *given: shutil.copy(graph, given[-1]))
    score = bundled.BundledNetwork.score
    off = np.array([0, 2e-3], np.float32)
    monkeypatch.setattr(
        bundled.BundledNetwork, "score",
        lambda self, squares: (found := score(self, squares))._replace(
            log_odds=found.log_odds + off
        ),
    )  # fmt: skip
    with chdir(frozen):
        params = load_params(BundleParams)
        networks = module.open_networks(params, module.read_ensemble(module.STACKERS))
    [tower] = [network for network in networks if network.name == "tower"]
    squares = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    rows = RowSquares(squares, np.arange(3), np.ones(3, np.int64))
    facts = bundled.write_network(tower, rows, tmp_path)
    found = [(own.kind, own.head, own.parity) for own in facts]
    assert found == [("torch", 0, None), ("torch", 1, None)]
    assert all("off by 0.002" in own.reason for own in facts)
    assert [path.name for path in (tmp_path / "members").iterdir()] == ["tower.safetensors"]


def test_two_networks_of_one_name_are_refused(
    frozen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As backbone `a-0`, whose folds are one, and fold 0 of `a`."""
    monkeypatch.setattr(bundled.TorchNetwork, "name", "a-0")
    with chdir(frozen), pytest.raises(BundleError, match="two networks are called a-0"):
        module.open_networks(load_params(BundleParams), module.read_ensemble(module.STACKERS))


def test_folds_of_other_encoders_have_files_of_their_own(
    frozen: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As when the file of pretrained weights was changed between two trainings."""
    with chdir(frozen):
        members = [
            module.read_member(module.MEMBERS / "tower" / str(fold), "tower", fold)
            for fold in FOLDS
        ]
    assert bundled.share_encoders(members) == [tuple(members)]
    other = replace(members[1], id=replace(members[1].id, encoder="another"))
    assert bundled.share_encoders([members[0], other]) == [(members[0],), (other,)]
    assert "the folds of tower have 2 encoders" in caplog.text
    trained = [replace(own, id=replace(own.id, encoder="")) for own in members]
    assert bundled.share_encoders(trained) == [(own,) for own in trained]
