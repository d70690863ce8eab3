"""Members with the same frozen encoder are one network of a bundle: held once, asked once."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from frozen_project import BACKBONES, FOLDS
from tiny_project import make_bundle

from serving import Ensemble
from serving.bundle import networks as bundled
from serving.bundle import opening
from serving.bundle.opening import ProjectMember, open_networks
from serving.format.facts import list_networks
from serving.reading.pictures import name_picture
from serving.reading.shown import RowSquares, ShownRows, join_rows
from serving.scoring.networks import BundledNetwork
from serving.sheet.facts import gather_facts
from stage1_cnn.networks.graph_encoder import GraphEncoder

TOWER, QUARTERS = "again+inner+tower.onnx", "places+quarters.safetensors"
FILES = {
    TOWER: ["again-0", "again-1", "inner-0", "inner-1", "tower-0", "tower-1"],
    QUARTERS: ["places-0", "places-1", "quarters-0", "quarters-1"],
}
"""The members that lie in each, in the order of their heads."""


@pytest.fixture(scope="module")
def shared(frozen: Path, tmp_path_factory: pytest.TempPathFactory) -> Ensemble:
    folder = tmp_path_factory.mktemp("shared") / "ensemble"
    return Ensemble.load(make_bundle(frozen, folder, samples=2))


@pytest.fixture(scope="module")
def apart(frozen: Path, tmp_path_factory: pytest.TempPathFactory) -> Ensemble:
    """The same with a file for each fold."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "share_encoders", lambda members: [(member,) for member in members])
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


def test_an_encoder_lies_in_one_file_with_a_head_for_each_member(
    shared: Ensemble, apart: Ensemble
) -> None:
    folder = shared.bundle.folder / "members"
    assert {path.name for path in folder.iterdir()} == FILES.keys()
    found = {own.name: (Path(own.file).name, own.head) for own in shared.facts.members}
    backbones = shared.scorer.second_stage.backbones
    assert list(found) == [f"{name}-{fold}" for fold in FOLDS for name in backbones]
    for file, names in FILES.items():
        assert [found[name] for name in names] == [(file, head) for head in range(len(names))]
    alone = apart.bundle.folder / "members/tower-0.onnx"
    assert (folder / TOWER).stat().st_size < 1.1 * alone.stat().st_size
    assert len(apart.facts.members) == len({own.file for own in apart.facts.members})


def test_members_keep_what_is_their_own(shared: Ensemble, apart: Ensemble) -> None:
    other = {member.name: member for member in apart.facts.members}
    for member in shared.facts.members:
        alone = other[member.name]
        for name in ("kind", "digest", "correction", "sees", "side", "tta", "width", "pretrained"):
            assert getattr(member, name) == getattr(alone, name)
        assert member.parity == alone.parity
        crops = member.backbone in ("tower", "inner", "again")
        assert (member.sees.side, member.side) == (32 if crops else 48, 32)
    assert len({member.digest for member in shared.facts.members}) == len(other)


def test_parameters_add_up_to_what_is_stored(
    shared: Ensemble, members: dict[str, ProjectMember]
) -> None:
    facts = [own for own in shared.facts.members if Path(own.file).name == TOWER]
    [network] = open_networks([members[name] for name in FILES[TOWER]])
    stored = sum(weight.numel() for weight in network.engine.network.parameters())
    encoders = sum(own.encoder_parameters for own in list_networks(facts))
    assert encoders + sum(own.parameters for own in facts) == stored
    for own in facts:
        whole = members[own.name].member.parameters
        assert own.encoder_parameters + own.parameters == whole


def test_embeddings_of_a_file_lie_side_by_side(shared: Ensemble) -> None:
    """Members that read the same have one in common."""
    by_name = {own.name: own for own in shared.facts.members}
    tower, again, inner = (by_name[f"{name}-1"] for name in ("tower", "again", "inner"))
    assert (again.span, inner.span) == (tower.span, slice(tower.width, tower.width + inner.width))
    assert inner.width != tower.width
    places, quarters = by_name["places-0"], by_name["quarters-0"]
    assert (places.span, quarters.span) == (slice(0, 3), slice(3, 15))


def test_scores_are_those_of_members_that_are_asked_one_by_one_to_the_bit(
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


def test_an_encoder_is_asked_once_for_all_members(
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
    by_name = dict(zip(columns[0].backbones, columns[0].embeddings, strict=True))
    assert by_name["again"] is by_name["tower"]


def test_a_sheet_explains_such_a_bundle(
    shared: Ensemble, apart: Ensemble, given: list[Path]
) -> None:
    """As it explains members that lie alone, each by what it says itself."""
    ours, theirs = (
        gather_facts(own, given[0].read_bytes(), "a.png").maps for own in (shared, apart)
    )
    assert {own.scorer for own in ours} == {"", *BACKBONES}
    for own, other in zip(ours, theirs, strict=True):
        assert (own.scorer, own.loudest) == (other.scorer, other.loudest)
        np.testing.assert_array_equal(own.changes, other.changes)
    assert {own.scorer for own in ours if own.loudest} == {"tower", "inner", "again"}


def test_what_ships_may_ask_few_of_the_members_of_a_file(
    shared: Ensemble, given: list[Path]
) -> None:
    """Each has its own head and its own embedding, whichever is asked beside it."""
    scorer = shared.scorer
    rows = show(shared, given)
    whole = scorer.ask_members(rows)
    few = [own for own in scorer.needed if own.backbone == "inner"]
    found = scorer._ask(few, rows)
    place = scorer.second_stage.backbones.index("inner")
    for own, columns in zip(few, whole.columns, strict=True):
        alone = found[own.name]
        corrected = own.correction.apply(alone.logits)
        np.testing.assert_array_equal(corrected, whole.log_odds[own.name])
        np.testing.assert_array_equal(alone.embeddings, columns.embeddings[place])


def make_squares() -> RowSquares:
    squares = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    return RowSquares(squares, np.arange(3), np.ones(3, np.int64))


def test_where_one_head_is_off_all_members_are_in_torch(
    members: dict[str, ProjectMember],
    shared: Ensemble,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph = shared.bundle.folder / "members" / TOWER
    monkeypatch.setattr(bundled, "_write_graph", lambda *given: shutil.copy(graph, given[-1]))
    score = BundledNetwork.score
    off = np.array([0, 0, 0, 2e-3, 0, 0], np.float32)
    with monkeypatch.context() as patch:
        patch.setattr(
            BundledNetwork, "score",
            lambda self, squares: (found := score(self, squares))._replace(
                log_odds=found.log_odds + off
            ),
        )  # fmt: skip
        [tower] = open_networks([members[name] for name in FILES[TOWER]])
        facts = bundled.write_network(tower, make_squares(), tmp_path)
    found = [(own.kind, own.head, own.parity) for own in facts]
    assert found == [("torch", head, None) for head in range(6)]
    assert all("off by 0.002" in own.reason for own in facts)
    [path] = (tmp_path / "members").iterdir()
    assert path.name == "again+inner+tower.safetensors"
    squares = make_squares().pixels
    loaded, wanted = BundledNetwork(tmp_path, facts[0]).score(squares), tower.score(squares)
    for own, other in zip(loaded, wanted, strict=True):
        np.testing.assert_array_equal(own, other)


def test_parity_of_an_embedding_is_that_of_a_members_own(
    members: dict[str, ProjectMember], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = BundledNetwork.score

    def shift(network: BundledNetwork, squares: np.ndarray):
        found = score(network, squares)
        found.embeddings[:, network.facts.width :] += 1  # what `inner` reads
        return found

    monkeypatch.setattr(BundledNetwork, "score", shift)
    [tower] = open_networks([members[name] for name in FILES[TOWER]])
    for own in bundled.write_network(tower, make_squares(), tmp_path):
        assert own.parity is not None
        assert own.parity.embeddings == pytest.approx(float(own.backbone == "inner"), abs=1e-3)
