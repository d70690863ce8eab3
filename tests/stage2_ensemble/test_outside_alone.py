"""A run without networks of its own: detectors from outside, with gaps, from tables to labels."""

import logging

import numpy as np
import pandas as pd
import pytest
from outside_world import build_outside_world, declare, drop_scores, run_all, run_outside
from scipy.special import expit
from sklearn.metrics import roc_auc_score
from synthetic_world import Plan

from features.artifacts.outside import locate_outside
from features.core.files import read_json
from features.core.manifest import SUMS
from features.core.sums import write_sums
from features.errors import ManifestError
from features.runtime.costs import UNKNOWN
from features.settings.members import MembersParams
from features.settings.report import GalleryParams
from features.settings.sections import load_params, validate_params
from stage2_ensemble.columns.columns import read_held_out, read_train_columns
from stage2_ensemble.display.tables import list_tables
from stage2_ensemble.evaluate import run as evaluate
from stage2_ensemble.fitted.bundle import read_ensemble
from stage2_ensemble.gallery import run as gallery
from stage2_ensemble.label import run as label
from stage2_ensemble.results.metrics_file import read_metrics
from stage2_ensemble.sentences.log import list_log_lines

HONEST = {"train": 0.8, "val": 0.8, "test": 0.8}
WEAK = {"train": 0.4, "val": 0.4, "test": 0.4}
CHEAT = {"train": 2.5, "val": 0.2, "test": 0.2}
TEST_NAMES = tuple(f"{i}.png" for i in range(40))
SILENT = [5, 11]
"""Rows of test that nobody has scored; row 3 cannot be read."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    plan = Plan(active=(0, 1, 2), test_names=TEST_NAMES)
    root = tmp_path_factory.mktemp("outside") / "it"
    world = build_outside_world(root, plan, honest=HONEST, weak=WEAK, cheat=CHEAT)
    declare(world, honest="none", weak="none", cheat="unknown")
    rng = np.random.default_rng(0)
    for name in ("weak", "cheat"):
        for role in ("train", "val"):
            count = len(getattr(world, role))
            drop_scores(world, name, role, rng.choice(count, count // 5, replace=False))
    drop_scores(world, "honest", "train", range(0, 450, 9))
    for name in ("honest", "weak", "cheat"):
        drop_scores(world, name, "test", SILENT)
    run_all(world)
    return world


@pytest.fixture
def inside(world, monkeypatch):
    monkeypatch.chdir(world.root)
    return world


def test_every_row_of_test_is_labelled(inside):
    rows = pd.read_csv(label.OUT / "labels.csv")
    assert rows["img_name"].tolist() == [f"test/{name}" for name in TEST_NAMES]
    silent = rows["status"] == label.NO_SCORE
    assert np.flatnonzero(silent).tolist() == SILENT
    share = np.mean(inside.train.labels)
    np.testing.assert_allclose(rows["score"][silent], share)
    assert rows["score"][~silent].nunique() == len(TEST_NAMES) - len(SILENT)
    assert rows["score"].between(0, 1).all()


def test_one_detector_is_one_member_whatever_the_folds(inside):
    metrics = read_metrics(evaluate.OUT / "metrics.json")
    assert list(metrics["val"]["members"]) == ["honest-0", "weak-0", "cheat-0"]
    ensemble = read_ensemble(evaluate.STACKERS)
    assert len(set(ensemble.digests.values())) == 1


def test_a_detector_is_measured_on_the_rows_of_val_that_it_scored(inside):
    val = read_metrics(evaluate.OUT / "metrics.json")["val"]
    rows = inside.val.table.set_index("img_name")["label"]
    for name in ("honest", "weak", "cheat"):
        scores = pd.read_csv(inside.root / f"{name}.csv").set_index("img_name")["score"]
        known = scores.index.intersection(rows.index)
        wanted = roc_auc_score(rows[known], scores[known])
        assert val["members"][f"{name}-0"]["auc"] == pytest.approx(wanted, rel=1e-12)


def test_better_on_train_than_on_val_is_said(inside):
    metrics = read_metrics(evaluate.OUT / "metrics.json")
    figures = metrics["outside_figures"]
    assert figures["cheat"]["difference"]["auc_low"] > 0.2
    assert figures["honest"]["difference"]["auc_low"] < 0
    doubts = [line for line in list_log_lines(metrics, read_costs()) if "learned from rows" in line]
    assert [line.split()[0] for line in doubts] == ["cheat"]


def read_costs() -> dict:
    return dict.fromkeys(("honest", "weak", "cheat"), UNKNOWN)


def test_what_is_declared_stands_in_every_table_with_their_names(inside):
    metrics = read_metrics(evaluate.OUT / "metrics.json")
    seen = 0
    for table in list_tables(metrics):
        for row in table.rows:
            if row.cells[0].split(" ")[0] in ("honest", "weak", "cheat", "honest-0", "cheat-0"):
                head = " ".join(column.name for column in table.columns)
                assert "declared" in row.cells[0] or "declared" in head
                seen += 1
    assert seen >= 12


def test_the_gallery_needs_no_networks(inside):
    values = {"outside": load_params(MembersParams).outside, "backbones": {}}
    values |= {"folds": {"active": inside.plan.active}, "report": {"rows": 20, "neighbours": 3}}
    for name, head in (
        ("duplicates.csv", "first_role,first,second_role,second,kind,action\n"),
        ("quarantine.csv", "role,line,img_name,path,status\n"),
    ):
        (gallery.MANIFEST / name).write_text(head)
    names = ("duplicates.csv", "quarantine.csv")
    write_sums(gallery.MANIFEST / SUMS, [gallery.MANIFEST / name for name in names])
    gallery.run(validate_params(GalleryParams, values, "test"))
    entries = read_json(gallery.OUT / "gallery.json", "gallery")["rows"]
    assert all(entry["neighbours"] == [] for entry in entries)
    table = pd.read_parquet(evaluate.OUT / "evaluation.parquet").set_index("row_id")
    for entry in entries:
        known = table.loc[entry["row"]][[f"score:{n}-0" for n in ("honest", "weak", "cheat")]]
        assert list(entry["members"].values()) == known.dropna().tolist()


def test_a_row_of_val_that_nobody_scored_is_refused(tmp_path, monkeypatch):
    world = build_outside_world(tmp_path / "it", Plan(), honest=HONEST)
    drop_scores(world, "honest", "val", [7])
    run_outside(world)
    monkeypatch.chdir(world.root)
    places = {"honest": world.root / "artifacts" / "outside" / "honest"}
    with pytest.raises(ManifestError, match=r"'val/00007.png' has no score"):
        read_held_out(world.root, world.val, ["honest"], [0], "", outside=places)


def test_rows_of_train_that_nobody_scored_are_left_out(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    world = build_outside_world(tmp_path / "it", Plan(), a=HONEST, b=WEAK)
    rows = world.train.fold_rows(0)
    drop_scores(world, "a", "train", rows[:30])
    drop_scores(world, "b", "train", rows[20:50])
    run_outside(world)
    places = locate_outside(["a", "b"], world.root / "artifacts" / "outside")
    ((columns, _),) = read_train_columns(world.root, world.train, ["a", "b"], [0], None, places)
    assert set(rows) - set(columns.row_ids) == set(rows[20:30])
    assert "fold 0: 10 rows of train that no detector scored: left out" in caplog.text
    table = pd.read_csv(world.root / "a.csv").set_index("img_name")["score"]
    names = world.train.table["img_name"].iloc[columns.row_ids]
    np.testing.assert_allclose(expit(columns.logits[:, 0]), table.reindex(names), rtol=1e-9)
