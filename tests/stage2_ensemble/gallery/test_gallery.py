"""The stage `gallery`: rows of val with all that is known of each."""

import numpy as np
import pytest

from features.core.files import read_sealed
from features.core.manifest import SUMS, write_manifest
from features.core.sums import write_sums
from features.errors import MissingArtifactError, StaleArtifactError
from features.settings.report import GalleryParams
from features.settings.sections import validate_params
from stage2_ensemble.evaluate import run as evaluate
from stage2_ensemble.findings.tables import read_evaluation
from stage2_ensemble.fitted.bundle import read_ensemble
from stage2_ensemble.gallery import run as gallery
from stage2_ensemble.gallery.facts import FACTS, ROWS, describe_column

LISTS = {
    "duplicates.csv": "first_role,first,second_role,second,kind,distance,correlation,action\n"
    "train,00007.png,val,00003.png,near,4,0.99,dropped from train\n"
    "val,00003.png,val,00004.png,exact,0,1.0,grouped\n",
    "quarantine.csv": "role,line,img_name,path,status\n"
    "train,2,t.png,t.png,cut off\n"
    'val,9,"a, b.png","a, b.png",no image\n',
}


@pytest.fixture
def world(enter):
    world = enter("three folds")
    for name, text in LISTS.items():
        (gallery.MANIFEST / name).write_text(text)
    write_sums(gallery.MANIFEST / SUMS, [gallery.MANIFEST / name for name in LISTS])
    return world


def run(world, rows: int = 40, neighbours: int = 3) -> dict:
    values = {
        "backbones": {name: {} for name in world.plan.strengths},
        "outside": {},
        "folds": {"active": world.plan.active},
        "report": {"rows": rows, "neighbours": neighbours},
    }
    gallery.run(validate_params(GalleryParams, values, "test"))
    return read_sealed(gallery.OUT / FACTS, "gallery")


def test_rows_are_those_of_the_evaluation(world):
    found = run(world)
    table = read_evaluation(evaluate.OUT / "evaluation.parquet")
    ids = np.load(gallery.OUT / ROWS)
    assert [entry["row"] for entry in found["rows"]] == ids.tolist() == sorted(set(ids.tolist()))
    assert len(ids) == 40
    for entry in found["rows"]:
        row = table.iloc[entry["row"]]
        assert (entry["name"], entry["label"]) == (row["img_name"], row["label"])
        assert entry["log_odds"] == row["score:stack"]
        assert entry["decision"] == row["decision"]
        assert entry["members"] == {name: row[f"score:{name}"] for name in entry["members"]}
        assert len(entry["members"]) == len(world.plan.strengths) * 3


def test_drivers_add_up_to_the_score_before_calibration(world):
    found = run(world)
    ensemble = read_ensemble(evaluate.STACKERS)
    rule = ensemble.rules.scorers[ensemble.shipped].calibration
    for entry in found["rows"]:
        drivers = entry["drivers"][ensemble.shipped]
        columns = [value for _, value in drivers["columns"]]
        total = drivers["base"] + sum(columns) + drivers["others"]
        assert rule.apply(np.array([total]))[0] == pytest.approx(entry["log_odds"], abs=1e-3)
        assert [abs(v) for v in columns] == sorted(map(abs, columns), reverse=True)


def test_neighbours_are_train_rows_that_the_members_did_not_learn_from(world):
    found = run(world)
    held = set(world.train.table["img_name"].iloc[world.train.rows_to_dump(0)])
    for entry in found["rows"]:
        names = [other["name"] for other in entry["neighbours"]]
        assert len(set(names)) == 3
        assert set(names) <= held
    # Embeddings of these members tell the classes apart, and so do neighbours.
    same = [o["label"] == e["label"] for e in found["rows"] for o in e["neighbours"]]
    assert np.mean(same) > 0.6


def test_pairs_and_quarantined_files_are_listed(world):
    found = run(world, rows=300)
    entry = next(entry for entry in found["rows"] if entry["name"] == "00003.png")
    assert [(p["role"], p["path"], p["kind"]) for p in entry["pairs"]] == [
        ("val", "00004.png", "exact"),
        ("train", "00007.png", "near"),
    ]
    assert found["quarantined"] == [{"name": "a, b.png", "path": "a, b.png", "problem": "no image"}]
    assert found["quarantined_rows"] == 1


def test_the_same_bytes_again_and_none_for_none(world):
    run(world)
    before = [(gallery.OUT / name).read_bytes() for name in (ROWS, FACTS)]
    run(world)
    assert before == [(gallery.OUT / name).read_bytes() for name in (ROWS, FACTS)]
    assert run(world, rows=0)["rows"] == []
    assert run(world, neighbours=0)["rows"][0]["neighbours"] == []


def test_an_evaluation_of_another_val_is_stale(world):
    table = world.val.table.assign(img_name=[f"x{i}" for i in range(len(world.val))])
    write_manifest(table, "val", gallery.MANIFEST / "val.parquet")
    with pytest.raises(StaleArtifactError, match="evaluate"):
        run(world)


def test_missing_lists_name_prepare(world):
    (gallery.MANIFEST / "quarantine.csv").unlink()
    with pytest.raises(MissingArtifactError, match="prepare"):
        run(world)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("logit:resnet", "log-odds of resnet"),
        ("distance:vit", "nearness to class means, vit"),
        ("pca:vit:12", "component 12 of vit"),
        ("spread", "spread of the members"),
        ("forensic:ela:mean of rest", "ela: mean of rest"),
        ("file:bytes", "file: bytes"),
    ],
)
def test_columns_are_told_in_words(name, words):
    assert describe_column(name) == words
