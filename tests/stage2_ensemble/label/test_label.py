"""The stage `label`: every test row once, in its order, and nothing lost on the way to the file."""

import csv
import logging
import shutil
from contextlib import chdir
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from synthetic_world import (
    BACKBONES,
    ODD_NAMES,
    STACK,
    UNREADABLE,
    Plan,
    World,
    build_world,
    make_rules,
    run_stages,
    write_member_dump,
    write_noise_features,
    write_params,
)

from features.core.manifest import write_manifest
from features.errors import StaleArtifactError
from features.settings.members import MembersParams
from features.settings.sections import load_params
from features.settings.stacking import StackParams
from stage2_ensemble.columns.columns import read_held_out
from stage2_ensemble.columns.extras import read_extras
from stage2_ensemble.decisions.conformal import Band
from stage2_ensemble.decisions.prior_shift import use_given
from stage2_ensemble.fitted.bundle import read_ensemble
from stage2_ensemble.label import run as label
from stage2_ensemble.measures.shares import Share
from stage2_ensemble.stack import run as stack


def read_rows(world: World, name: str) -> list[dict[str, str]]:
    with open(world.root / "artifacts" / name, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_columns(world: World):
    members = (BACKBONES, world.plan.active, world.train.digest)
    extras = read_extras(label.FORENSICS, world.test)
    return read_held_out(label.DUMPS, world.test, *members, extras)


def answer(ensemble, columns, test):
    """The labels of rows whose columns are these."""
    return label.label_rows(ensemble, label.score_test_rows(ensemble, columns, test), test)


def score_test(world: World):
    ensemble, columns = read_ensemble(label.STACKERS), read_columns(world)
    raw = ensemble.score(ensemble.shipped, columns)
    return ensemble, columns[0].row_ids, ensemble.rules.read(ensemble.shipped, raw)


def fit_and_label(world: World) -> None:
    with chdir(world.root):
        stack.run(load_params(StackParams))
        label.run(load_params(MembersParams))


@pytest.mark.fault(
    "the order of the list to label",
    "labels come in it, one a row",
    "Settings and surroundings",
)
def test_every_row_stands_once_in_the_order_of_the_list(done):
    rows = read_rows(done, "labels.csv")
    assert list(rows[0]) == ["img_name", "score", "label", "log_odds", "status"]
    assert [row["img_name"] for row in rows] == list(ODD_NAMES)
    assert [row["status"] for row in rows] == ["ok"] * 3 + [UNREADABLE] + ["ok"] * 5


@pytest.mark.fault("names like `007`, `NA`, `1e5`")
def test_odd_names_come_back_through_pandas(done):
    rows = pd.read_csv(done.root / "artifacts/labels.csv", dtype=str, keep_default_na=False)
    assert tuple(rows["img_name"]) == ODD_NAMES


def test_scores_are_the_shipped_ones_to_the_last_bit(done):
    rows = read_rows(done, "labels.csv")
    ensemble, row_ids, log_odds = score_test(done)
    assert len(row_ids) == len(rows) - 1
    for row_id, value in zip(row_ids, log_odds, strict=True):
        row = rows[row_id]
        assert float(row["log_odds"]) == value
        assert float(row["score"]) == expit(value)
        threshold = ensemble.rules.find_threshold(ensemble.shipped)
        assert row["label"] == ("fake" if value >= threshold else "real")
    assert {row["label"] for row in rows} == {"real", "fake"}


@pytest.mark.fault("a JPEG that was cut off")
def test_an_unreadable_image_gets_the_prior(done):
    row = read_rows(done, "labels.csv")[3]
    prior = np.mean(done.train.labels)
    ensemble = read_ensemble(label.STACKERS)
    assert float(row["score"]) == pytest.approx(prior, rel=1e-12)
    threshold = ensemble.rules.find_threshold(ensemble.shipped)
    assert row["label"] == ("fake" if logit(prior) >= threshold else "real")


def test_the_submission_holds_names_and_scores(done):
    labels, rows = read_rows(done, "labels.csv"), read_rows(done, "prediction.txt")
    assert list(rows[0]) == ["img_name", "y_pred"]
    assert [(r["img_name"], r["y_pred"]) for r in rows] == [
        (r["img_name"], r["score"]) for r in labels
    ]


def test_scores_next_to_one_stay_apart(enter):
    world = enter("one fold")
    rules = make_rules({"mean": 0.0})
    ensemble = replace(read_ensemble(label.STACKERS), shipped="mean", rules=rules)
    columns = read_columns(world)
    high = [replace(columns[0], logits=columns[0].logits * 0 + np.linspace(33, 34, 8)[:, None])]
    table = answer(ensemble, high, world.test)
    written = table.to_csv(index=False, float_format=label.DIGITS).splitlines()[1:]
    names = table["img_name"].map(lambda name: name not in ("a,b.png", 'say "hi".png'))
    scores = [
        float(line.split(",")[1]) for line, plain in zip(written, names, strict=True) if plain
    ]
    assert scores == table["score"][names].tolist()
    assert len(set(scores)) > 3
    assert max(scores) < 1


def test_labels_follow_the_threshold_of_what_ships(enter):
    world = enter("one fold")
    columns = read_columns(world)
    ensemble = read_ensemble(label.STACKERS)
    scores = np.sort(ensemble.score("mean", columns))
    for place in (0, 4, 7):
        rules = make_rules({"mean": scores[place], "lightgbm": -99.0})
        table = answer(replace(ensemble, shipped="mean", rules=rules), columns, world.test)
        readable = table["status"] == "ok"
        fakes = (table["label"][readable] == "fake").sum()
        assert fakes == 8 - place  # a row at the threshold is fake


def test_a_band_leaves_rows_to_review(enter):
    world = enter("one fold")
    columns = read_columns(world)
    ensemble = read_ensemble(label.STACKERS)
    scores = np.sort(ensemble.score("mean", columns))
    band = Band(0.1, float(scores[2]), float(scores[4]), 20, 20, Share(0.5), Share(0.5))
    rules = replace(make_rules({"mean": 0.0}), band=band)
    table = answer(replace(ensemble, shipped="mean", rules=rules), columns, world.test)
    readable = (table["status"] == "ok").to_numpy()
    answers = table["label"].to_numpy()
    order = np.argsort(table["log_odds"].to_numpy()[readable])
    wanted = ["real"] * 2 + ["review"] * 3 + ["fake"] * 3
    assert answers[readable][order].tolist() == wanted
    assert set(answers[~readable]) == {"review"}


def test_another_share_of_fakes_moves_scores_and_no_label(enter):
    world = enter("one fold")
    columns = read_columns(world)
    ensemble = read_ensemble(label.STACKERS)
    before = answer(ensemble, columns, world.test)
    train = ensemble.rules.prior.train
    rules = replace(ensemble.rules, prior=use_given(0.05, train))
    after = answer(replace(ensemble, rules=rules), columns, world.test)
    readable = before["status"] == "ok"
    assert (before["label"] == after["label"])[readable].all()
    assert (after["score"] < before["score"]).all()
    assert after["score"][~readable].tolist() == [pytest.approx(0.05)]


def test_file_facts_reach_the_labels_where_they_were_asked_for(enter):
    """The size of train files tells the classes, and so that of a test file its label."""
    world = enter("one fold")
    stacks = {}
    for role in ("train", "val", "test"):
        manifest = getattr(world, role)
        signs = manifest.labels if role != "test" else np.arange(len(manifest)) % 2
        table = manifest.table.assign(bytes=np.where(signs == 1, 5000, 100))
        path = world.root / f"artifacts/manifest/{role}.parquet"
        stacks[role] = write_manifest(table, role, path)
    changed = replace(world, **stacks)
    for role in stacks:
        write_noise_features(world.root, stacks[role])
        for backbone in BACKBONES:
            write_member_dump(changed, backbone, 0, role)
    fit_and_label(changed)
    without = [row["label"] for row in read_rows(changed, "labels.csv")]
    write_params(changed, stack=STACK | {"use_file_facts": True})
    fit_and_label(changed)
    found = [row["label"] for row in read_rows(changed, "labels.csv")]
    readable = [i for i in range(len(found)) if i != 3]
    assert [found[i] for i in readable] == [("real", "fake")[i % 2] for i in readable]
    assert found != without


def test_no_test_list_leaves_headers(tmp_path, caplog):
    world = build_world(tmp_path, Plan(reals=30, test_names=()))
    with caplog.at_level(logging.INFO, "forgerystack"):
        run_stages(world)
    assert (tmp_path / "artifacts/labels.csv").read_text().splitlines() == [
        "img_name,score,label,log_odds,status"
    ]
    assert (tmp_path / "artifacts/prediction.txt").read_text().splitlines() == ["img_name,y_pred"]
    assert any("no test list" in message for message in caplog.messages)


def test_a_test_list_of_unreadable_images_gets_the_prior(tmp_path):
    world = build_world(tmp_path, Plan(reals=30, test_names=("a", "b", "c", "d")))
    table = world.test.table.assign(status=UNREADABLE)
    path = tmp_path / "artifacts/manifest/test.parquet"
    changed = replace(world, test=write_manifest(table, "test", path))
    write_noise_features(world.root, changed.test)
    for backbone in BACKBONES:
        write_member_dump(changed, backbone, 0, "test")
    fit_and_label(changed)
    scores = {row["score"] for row in read_rows(world, "labels.csv")}
    assert len(scores) == 1
    assert float(scores.pop()) == pytest.approx(0.6)


def test_labels_need_neither_train_nor_val(enter):
    world = enter("three folds")
    before = (world.root / "artifacts/labels.csv").read_bytes()
    for role in ("train", "val"):
        (world.root / f"artifacts/manifest/{role}.parquet").unlink()
        for path in (world.root / "artifacts/dumps").rglob(f"{role}.*"):
            path.unlink()
    label.run(load_params(MembersParams))
    assert (world.root / "artifacts/labels.csv").read_bytes() == before


def test_a_new_test_list_needs_new_dumps_and_no_new_stackers(enter):
    world = enter("one fold")
    table = world.test.table.iloc[::-1].assign(row_id=np.arange(len(world.test)))
    table = table.reset_index(drop=True)
    path = world.root / "artifacts/manifest/test.parquet"
    changed = replace(world, test=write_manifest(table, "test", path))
    write_noise_features(world.root, changed.test)
    with pytest.raises(StaleArtifactError, match="dvc repro dump@net-a-0"):
        label.run(load_params(MembersParams))
    for backbone in BACKBONES:
        write_member_dump(changed, backbone, 0, "test")
    label.run(load_params(MembersParams))
    names = [row["img_name"] for row in read_rows(world, "labels.csv")]
    assert names == list(ODD_NAMES[::-1])


@pytest.mark.parametrize("world", ["one fold", "three folds"])
def test_rows_are_answered_in_blocks_to_the_same_bytes(enter, monkeypatch, world):
    enter(world)
    files = ("labels.csv", "prediction.txt")
    before = [(label.OUT / name).read_bytes() for name in files]
    monkeypatch.setattr(label, "BLOCK", 4)
    label.run(load_params(MembersParams))
    assert [(label.OUT / name).read_bytes() for name in files] == before


def test_an_ensemble_of_other_members_is_stale(enter):
    world = enter("one fold")
    write_params(world, backbones={"net-b": {}, "net-a": {}})
    with pytest.raises(StaleArtifactError, match="dvc repro stack"):
        label.run(load_params(MembersParams))


def test_members_that_change_places_in_params_change_no_label(enter):
    world = enter("one fold")
    before = (world.root / "artifacts/labels.csv").read_bytes()
    write_params(world, backbones={"net_c": {}, "net-a": {}, "net-b": {}})
    label.run(load_params(MembersParams))
    assert (world.root / "artifacts/labels.csv").read_bytes() == before


def test_members_of_another_train_manifest_than_the_ensembles_are_stale(enter):
    world = enter("one fold")
    for backbone in BACKBONES:
        write_member_dump(world, backbone, 0, "test", train_digest="c" * 64)
    with pytest.raises(StaleArtifactError, match="cccccccc"):
        label.run(load_params(MembersParams))


def test_a_removed_backbones_folder_does_not_disturb(enter):
    world = enter("one fold")
    before = (world.root / "artifacts/labels.csv").read_bytes()
    dumps = world.root / "artifacts/dumps"
    shutil.copytree(dumps / "net-a", dumps / "gone")
    label.run(load_params(MembersParams))
    assert (world.root / "artifacts/labels.csv").read_bytes() == before
