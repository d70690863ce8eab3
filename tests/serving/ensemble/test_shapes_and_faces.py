"""Networks that see squares, fitted pictures and crops, of pictures and of the faces in them."""

import csv
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from parts_project import FACES
from PIL import Image

from features.core.manifest import Manifest, read_manifest
from features.crops.crop_store import lay_grid, open_member_store
from features.settings.images import Images
from features.videos.addresses import name_file
from serving import Ensemble
from serving.ensemble import ensemble as module
from serving.label.run import LabelTask, run
from serving.reading.pictures import GivenPicture, name_picture
from serving.reading.shown import ShownRows, join_rows
from serving.scoring.scorer import TOGETHER, Scorer
from serving.verify.run import run as verify
from serving.workers import decoding
from stage2_ensemble.columns.columns import read_held_out

pytestmark = pytest.mark.usefixtures("red_faces")
MODES = {"whole-0": "square", "fitted-0": "fit", "crops-0": "crop"}


@pytest.fixture(scope="module")
def held_out(parts: Path) -> Manifest:
    return read_manifest(parts / "artifacts/manifest", "test")


@pytest.fixture(scope="module")
def shown(parts_ensemble: Ensemble, parts: Path, held_out: Manifest) -> ShownRows:
    """All of test, row by row, as networks see them."""
    files = held_out.table["path"].map(name_file).drop_duplicates()
    given = [name_picture(parts / "data/demo" / file, 0) for file in files]
    sights = parts_ensemble.scorer.list_sights(all_members=True)
    return join_rows([parts_ensemble.reader.read(own, sights).rows for own in given])


# --- the same as in the project


def test_every_picture_is_scored_as_its_project_scores_it(
    parts_ensemble: Ensemble, parts: Path, parts_pictures: list[Path]
) -> None:
    rows = parts_ensemble.label(parts_pictures)
    names = [Path(row.name).name for row in rows]
    wanted = pd.read_csv(parts / "artifacts/prediction.txt", index_col="img_name")["y_pred"]
    assert sorted(wanted.index) == names
    found = [row.score for row in rows]
    np.testing.assert_allclose(found, wanted.loc[names], atol=2.5e-6, rtol=0)
    assert {row.faces for row in rows} == set(FACES)
    by_row = pd.read_csv(parts / "artifacts/labels.csv", index_col="img_name")["label"]
    by_unit = pd.read_csv(parts / "artifacts/unit_labels.csv", index_col="unit")["label"]
    for row in rows:
        name = Path(row.name).name
        assert row.label == (by_unit[f"testset/{name}"] if row.faces else by_row[name])


def test_what_networks_see_is_what_was_dumped_to_the_bit(
    parts_ensemble: Ensemble, parts: Path, held_out: Manifest, shown: ShownRows
) -> None:
    images = Images(size=48, store="none", store_dir=str(parts / ".other"))
    assert {m.name: m.sees.mode for m in parts_ensemble.facts.members} == MODES
    for member in parts_ensemble.facts.members:
        where = (held_out, parts / "data/demo", images)
        store = open_member_store(*where, member.sees.mode, member.sees.side)
        store = lay_grid(store, member.sees.most)
        rows, found = np.arange(len(held_out)), shown.by_sight[member.sees]
        if member.sees.mode == "crop":
            grid = store.list_squares(rows)
            np.testing.assert_array_equal(found.counts, grid.counts)
            assert found.counts.min() == 1
            assert found.counts.max() == member.sees.most == 3
            wanted = store.cut(grid.row_ids, grid.corners)
        else:
            wanted = store.gather(rows)
        np.testing.assert_array_equal(found.pixels, wanted)


def test_networks_say_what_their_dumps_say(
    parts_ensemble: Ensemble, parts: Path, held_out: Manifest, shown: ShownRows
) -> None:
    stage = parts_ensemble.scorer.second_stage
    members = (stage.backbones, stage.folds, stage.train_digest)
    [wanted] = read_held_out(parts / "artifacts/dumps", held_out, *members)
    [found] = parts_ensemble.scorer.ask_members(shown, all_members=True).columns
    np.testing.assert_allclose(found.logits, wanted.logits, atol=1e-5)
    for own, other in zip(found.embeddings, wanted.embeddings, strict=True):
        np.testing.assert_allclose(own, other, atol=2e-3, rtol=2e-3)
    for own, other in zip(found.crop_logits, wanted.crop_logits, strict=True):
        assert (own is None) == (other is None)
        if own is not None:
            np.testing.assert_allclose(own, other, atol=1e-5)
    assert sum(own is not None for own in found.crop_logits) == 1


def test_frames_of_a_video_have_faces_too(
    parts_ensemble: Ensemble, parts_pictures: list[Path]
) -> None:
    frames = [np.asarray(Image.open(path)) for path in (parts_pictures[0], parts_pictures[8])]
    clip = GivenPicture("clip", lambda: iter(frames), is_unit=True)
    [row] = parts_ensemble.label_batch([clip])
    read = parts_ensemble.reader.read(clip, parts_ensemble.scorer.list_sights())
    assert (row.faces, len(read.rows)) == (2, 4)
    stage = parts_ensemble.scorer.second_stage
    pooled = parts_ensemble.score_rows(read.rows).log_odds.mean(keepdims=True)
    assert row.log_odds == pytest.approx(stage.unit_rules.read(stage.shipped, pooled)[0])


# --- commands


def test_labels_say_how_many_faces_were_looked_at(
    parts_bundle: Path, parts_pictures: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        for path in (parts_pictures[0], parts_pictures[4], parts_pictures[8]):
            archive.add(path, path.name)
    run(LabelTask((str(tmp_path / "shard.tar"),), parts_bundle, tmp_path / "found.csv"))
    with open(tmp_path / "found.csv", newline="", encoding="utf-8") as file:
        assert [row["faces"] for row in csv.DictReader(file)] == ["0", "1", "2"]
    assert "in 1 no face was found, so the whole was looked at" in caplog.text


def test_samples_are_whole_pictures_and_score_as_they_did(
    parts_bundle: Path, parts_ensemble: Ensemble
) -> None:
    samples = parts_ensemble.facts.samples
    assert len({sample.name for sample in samples}) == 3
    assert not any("#" in sample.name for sample in samples)
    verify(parts_bundle)


def test_a_network_of_crops_costs_as_many_squares_as_pictures_have(
    parts_ensemble: Ensemble,
) -> None:
    by_name = {member.name: member for member in parts_ensemble.facts.members}
    one, crops = by_name["whole-0"].operations, by_name["crops-0"].operations
    assert 2 * one < crops < 2 * 3 * one  # two views of one to three squares


# --- how it is done


def test_networks_are_asked_about_full_batches_of_whatever_pictures(
    parts_ensemble: Ensemble, parts_pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: dict[str, list[int]] = {}
    get_network = Scorer.get_network

    class Watched:
        def __init__(self, name: str, network) -> None:
            self.name, self.network = name, network

        def score(self, squares: np.ndarray):
            sizes.setdefault(self.name, []).append(len(squares))
            return self.network.score(squares)

    watch = lambda self, facts: Watched(facts.name, get_network(self, facts))  # noqa: E731
    monkeypatch.setattr(Scorer, "get_network", watch)
    given = [name_picture(path, 0) for path in parts_pictures[:10]]
    parts_ensemble.label_batch(given)
    for batches in sizes.values():
        assert set(batches[:-1]) <= {TOGETHER}
        assert 0 < batches[-1] <= TOGETHER
    assert sum(sizes["crops-0"]) > sum(sizes["whole-0"]) > len(given)


def test_where_squares_are_many_they_are_scored_in_several_goes(
    parts_ensemble: Ensemble, parts_pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [name_picture(path, 0) for path in [*parts_pictures[:5], Path("none.png")]]
    wanted = parts_ensemble.label_batch(given)
    calls: list[int] = []
    label_read = module.label_read
    monkeypatch.setattr(module, "HELD", 1)
    monkeypatch.setattr(
        module, "label_read", lambda *a: (calls.append(len(a[1])), label_read(*a))[1]
    )
    found = parts_ensemble.label_batch(given)
    assert calls == [1, 1, 1, 1, 1, 1]
    assert [row.name for row in found] == [row.name for row in wanted]
    np.testing.assert_allclose([r.score for r in found], [r.score for r in wanted], atol=1e-9)


def test_a_worker_reads_what_the_library_reads(
    parts_ensemble: Ensemble,
    parts_bundle: Path,
    parts_pictures: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoding, "bound_worker", lambda memory: None)
    sights = tuple(parts_ensemble.scorer.list_sights())
    plan = decoding.DecodingPlan(
        bundle=parts_bundle,
        pixels=parts_ensemble.facts.pixels,
        sights=sights,
        digest=parts_ensemble.bundle.digest,
        file_bytes=1 << 20,
    ).model_dump_json()
    read = decoding.decode_upload(parts_pictures[4].read_bytes(), plan)
    wanted = parts_ensemble.reader.read(name_picture(parts_pictures[4], 0), sights)
    assert (read.problem, read.faces, read.is_unit) == ("", 1, True)
    for sight in sights:
        np.testing.assert_array_equal(
            read.rows.by_sight[sight].pixels, wanted.rows.by_sight[sight].pixels
        )
    assert decoding.decode_upload(b"none", plan).problem.startswith("none of the formats")
