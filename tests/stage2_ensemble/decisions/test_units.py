"""Units in place of rows: their scores, rules, metrics and labels."""

import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score
from synthetic_world import TEST_UNITS, write_member_dump, write_noise_features, write_params

from features.core import manifest
from features.core.files import read_json
from features.core.manifest import read_manifest, write_manifest
from features.null_model import run as null_model
from features.null_model.settings import NullParams
from features.settings.members import MembersParams
from features.settings.sections import load_params
from features.settings.stacking import Label, StackParams
from stage2_ensemble.columns.columns import read_held_out
from stage2_ensemble.columns.extras import read_extras
from stage2_ensemble.decisions.poolings import PoolingChoice, choose_pooling
from stage2_ensemble.decisions.scored_rows import ChoiceRows
from stage2_ensemble.decisions.units import (
    MIXED,
    Pooling,
    TrainUnits,
    describe_train,
    merge_choice_rows,
    number_units,
)
from stage2_ensemble.evaluate import run as evaluate
from stage2_ensemble.fitted.bundle import read_ensemble
from stage2_ensemble.label import run as label
from stage2_ensemble.sentences.intervals import format_interval
from stage2_ensemble.stack import run as stack
from stage2_ensemble.summary import run as summary


def make_rows(labels: list[int], log_odds: list[float]) -> ChoiceRows:
    n = len(labels)
    return ChoiceRows(
        row_ids=np.arange(n),
        log_odds=np.array(log_odds),
        groups=10 * np.arange(n),
        labels=np.array(labels, np.int8),
        weights=np.arange(1.0, n + 1),
    )


def test_units_stand_in_the_order_of_their_first_rows():
    units = number_units(np.array([7, 3, 7, 9, 3]))
    assert units.numbers.tolist() == [0, 1, 0, 2, 1]
    assert units.first.tolist() == [0, 1, 3]
    assert units.average(np.array([1.0, 2.0, 5.0, 0.0, 4.0])).tolist() == [3.0, 3.0, 0.0]
    assert units.find_labels(np.array([1, 0, 1, 0, 1])).tolist() == [1, MIXED, 0]


def test_a_unit_is_a_row_with_means_and_one_of_both_classes_is_left_out():
    rows = make_rows([1, 0, 1, 0, 1], [1.0, 2.0, 5.0, -3.0, 4.0])
    units = TrainUnits(np.array([7, 3, 7, 9, 3]), share=0.25, mixed=1)
    merged = merge_choice_rows(rows, units, Pooling())
    assert merged.row_ids.tolist() == [0, 3]
    assert merged.log_odds.tolist() == [3.0, -3.0]
    assert merged.groups.tolist() == [0, 30]
    assert merged.labels.tolist() == [1, 0]
    assert merged.prior == pytest.approx(0.25)


def test_units_of_one_class_alone_are_no_rows_to_choose_on():
    rows = make_rows([1, 0, 1], [1.0, 2.0, 5.0])
    assert merge_choice_rows(rows, TrainUnits(np.array([0, 1, 1]), 0.5, 1), Pooling()) is None


@pytest.mark.parametrize(
    ("top", "pooled"),
    [(None, [3.0, 2.5, np.nan]), (1, [5.0, 4.0, np.nan]), (2, [4.0, 2.5, np.nan])],
)
def test_rows_without_a_score_are_left_out_of_their_unit(top, pooled):
    units = number_units(np.array([7, 3, 7, 3, 3, 9, 7]))
    values = np.array([3.0, 4.0, 5.0, np.nan, 1.0, np.nan, 1.0])
    np.testing.assert_array_equal(Pooling(top).pool(units, values), pooled)


def make_units(forged_rows: int) -> tuple[ChoiceRows, TrainUnits]:
    """40 units of 8 rows, of which so many tell that a fake is one."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(40) % 2, 8).astype(np.int8)
    place = np.tile(np.arange(8), 40)
    log_odds = rng.normal(size=320) + 1.5 * (labels == 1) * (place < forged_rows)
    units = np.repeat(np.arange(40), 8)
    rows = ChoiceRows(row_ids=np.arange(320), log_odds=log_odds, groups=units, labels=labels,
                      weights=np.ones(320))  # fmt: skip
    return rows, TrainUnits(units, 0.5, 0)


@pytest.mark.parametrize(("forged_rows", "best"), [(8, "mean"), (2, "top_2")])
def test_auto_pools_as_units_of_train_say(forged_rows, best):
    rows, units = make_units(forged_rows)
    choice = choose_pooling(Label(unit_pooling="auto", unit_top_k=2), rows, units)
    assert choice.chosen.name == best
    aucs = {pooling.name: found.auc for pooling, found in choice.judged.items()}
    assert max(aucs, key=aucs.get) == best
    means = rows.log_odds.reshape(40, 8).mean(axis=1)
    assert aucs["mean"] == pytest.approx(roc_auc_score(np.arange(40) % 2, means))
    assert PoolingChoice.from_json(choice.to_json()) == choice
    told = choose_pooling(Label(unit_pooling="top_k"), rows, units)
    assert told.chosen == Pooling(3)


def test_of_equal_poolings_auto_takes_the_mean():
    rows, units = make_units(8)
    assert choose_pooling(Label(unit_pooling="auto", unit_top_k=8), rows, units).chosen == Pooling()


@pytest.fixture
def world(finished, monkeypatch):
    world = finished("units")
    monkeypatch.chdir(world.root)
    return world


def test_the_bundle_keeps_rules_of_units(world):
    ensemble = read_ensemble(stack.OUT)
    rules, found = ensemble.unit_rules, describe_train(world.train)
    assert set(rules.scorers) == set(ensemble.rules.scorers)
    assert rules.prior.value == pytest.approx(found.share)
    held = rules.held_out
    names = world.train.table["unit"].to_numpy()[held.row_ids]
    assert len(held) < len(ensemble.rules.held_out)
    assert pd.Series(names[names != ""]).is_unique
    threshold = rules.scorers[ensemble.shipped].threshold
    assert threshold.low <= threshold.value <= threshold.high


def test_metrics_by_unit_are_those_of_mean_log_odds(world):
    metrics = read_json(evaluate.OUT / "metrics.json", "evaluate")
    units, val = metrics["units"], metrics["val"]
    assert units["counts"] == {"reals": 60, "fakes": 90, "mixed": 1}
    assert set(units) == set(val) - {"null_model"} | {"counts", "poolings"}
    assert set(units["members"]) == set(val["members"])
    assert set(units["stack"]) == set(val["stack"])
    assert units["stack"]["groups"] == 150
    ensemble = read_ensemble(evaluate.STACKERS)
    members = (ensemble.backbones, ensemble.folds, ensemble.train_digest)
    extras = read_extras(evaluate.FORENSICS, world.val)
    scores = ensemble.score_all(read_held_out(evaluate.DUMPS, world.val, *members, extras))
    rows = pd.DataFrame({"unit": world.val.table["unit"], "label": world.val.labels})
    for name, found in (units["members"] | {units["shipped"]: units["stack"]}).items():
        means = rows.assign(score=scores[name]).groupby("unit").mean()
        means = means[means["label"].isin([0, 1])]
        assert found["auc"] == pytest.approx(roc_auc_score(means["label"], means["score"]))
        threshold = ensemble.unit_rules.find_threshold(name)
        answers = ensemble.unit_rules.read(name, means["score"].to_numpy()) >= threshold
        assert found["accuracy"] == pytest.approx((answers == means["label"]).mean())
    assert units["stack"]["auc"] > val["stack"]["auc"]  # two looks are better than one


def test_every_unit_of_the_test_list_has_one_label(world):
    units = pd.read_csv("artifacts/unit_labels.csv", dtype={"unit": str}, keep_default_na=False)
    rows = pd.read_csv("artifacts/labels.csv", dtype={"img_name": str}, keep_default_na=False)
    names = [unit or name for unit, name in zip(TEST_UNITS, rows["img_name"], strict=True)]
    assert units["unit"].tolist() == list(dict.fromkeys(names))
    assert units["rows"].tolist() == [2, 1, 0, 3, 1, 1]
    ensemble = read_ensemble(label.STACKERS)
    rules = ensemble.unit_rules
    members = (ensemble.backbones, ensemble.folds, ensemble.train_digest)
    columns = read_held_out(
        label.DUMPS, world.test, *members, read_extras(label.FORENSICS, world.test)
    )
    raw = np.full(len(world.test), np.nan)
    raw[columns[0].row_ids] = ensemble.score(ensemble.shipped, columns)
    means = pd.Series(raw).groupby(names, sort=False).mean().to_numpy()
    wanted = np.full(len(means), logit(rules.prior.value))
    known = np.isfinite(means)
    wanted[known] = rules.read(ensemble.shipped, means[known])
    np.testing.assert_allclose(units["log_odds"], wanted, rtol=1e-12)
    np.testing.assert_allclose(units["score"], expit(wanted), rtol=1e-12)
    fake = wanted >= rules.find_threshold(ensemble.shipped)
    assert units["label"].tolist() == np.where(fake, "fake", "real").tolist()


def test_units_are_labelled_without_the_whole_manifest(world, monkeypatch):
    monkeypatch.setattr(manifest, "ROW_GROUP", 2)
    test = read_manifest(label.MANIFEST, "test")
    ensemble, log_odds = read_ensemble(label.STACKERS), np.linspace(-2, 2, len(test))
    found, wanted = (label.label_units(ensemble, log_odds, own) for own in (test, world.test))
    pd.testing.assert_frame_equal(found, wanted)
    assert "table" not in vars(test)


def test_without_units_there_is_a_header_alone(done):
    assert (done.root / "artifacts/unit_labels.csv").read_text() == (
        "unit,rows,score,label,log_odds\n"
    )
    assert read_ensemble(stack.OUT).unit_rules is None


def test_a_test_list_without_units_has_one_for_each_image(enter, caplog):
    world = enter("units")
    table = world.test.table.assign(unit="")
    path = world.root / "artifacts/manifest/test.parquet"
    changed = replace(world, test=write_manifest(table, "test", path))
    write_noise_features(world.root, changed.test)
    for backbone in world.plan.strengths:
        for fold in world.plan.active:
            write_member_dump(changed, backbone, fold, "test")
    with caplog.at_level(logging.INFO, logger="forgerystack"):
        label.run(load_params(MembersParams))
    units = pd.read_csv("artifacts/unit_labels.csv", dtype={"unit": str}, keep_default_na=False)
    assert units["unit"].tolist() == list(world.plan.test_names)
    assert "the list names none, so each image is one" in caplog.text


def test_units_that_are_all_of_both_classes_are_told_and_measured_nowhere(enter, caplog, capsys):
    world = enter("units")
    fold_rows = world.train.table["fold"].to_numpy()
    table = world.train.table.assign(unit=[f"all of {fold}" for fold in fold_rows])
    path = world.root / "artifacts/manifest/train.parquet"
    changed = replace(world, train=write_manifest(table, "train", path))
    write_noise_features(world.root, changed.train)
    for backbone in world.plan.strengths:
        for fold in world.plan.active:
            for role in ("train", "val", "test"):
                write_member_dump(changed, backbone, fold, role)
    with caplog.at_level(logging.INFO, logger="forgerystack"):
        assert stack.run(load_params(StackParams)).unit_rules is None
        null_model.run(load_params(NullParams))
        metrics = evaluate.run(load_params(MembersParams))
        label.run(load_params(MembersParams))
    assert metrics["units"] == {"counts": {"reals": 60, "fakes": 90, "mixed": 1}}
    assert "too few of them have rows of one class only" in caplog.text
    assert "by unit nothing is measured: 60 real and 90 fake units" in caplog.text
    assert "unit_labels.csv holds its header only" in caplog.text
    summary.run()
    assert "by unit nothing is measured" in capsys.readouterr().out


def test_the_share_of_fakes_is_estimated_among_units(enter):
    world = enter("units")
    write_params(world, label={"prior": "estimate"})
    ensemble = stack.run(load_params(StackParams))
    prior = ensemble.unit_rules.prior
    assert prior.train == pytest.approx(describe_train(world.train).share)


def test_a_unit_may_be_pooled_from_its_highest_rows(enter, caplog):
    world = enter("units")
    before = pd.read_csv("artifacts/unit_labels.csv", keep_default_na=False)
    write_params(world, label={"unit_pooling": "top_k", "unit_top_k": 1})
    with caplog.at_level(logging.INFO, logger="forgerystack"):
        ensemble = stack.run(load_params(StackParams))
        metrics = evaluate.run(load_params(MembersParams))
        label.run(load_params(MembersParams))
    assert ensemble.pooling == read_ensemble(stack.OUT).pooling == Pooling(1)
    poolings = metrics["units"]["poolings"]
    assert {name: found["used"] for name, found in poolings.items()} == {
        "mean": False,
        "top_1": True,
    }
    assert poolings["top_1"]["auc"] == pytest.approx(metrics["units"]["stack"]["auc"])
    assert poolings["mean"]["out_of_fold"]["auc_low"] < poolings["mean"]["out_of_fold"]["auc"]
    assert "top_1 of its rows' log-odds; out-of-fold AUC of units mean 0." in caplog.text
    assert "by how a unit's rows are pooled: mean " in caplog.text
    rows = pd.read_csv("artifacts/labels.csv", keep_default_na=False)
    after = pd.read_csv("artifacts/unit_labels.csv", keep_default_na=False)
    assert not np.array_equal(before["log_odds"], after["log_odds"])
    names = [unit or name for unit, name in zip(TEST_UNITS, rows["img_name"], strict=True)]
    highest = rows["log_odds"].where(rows["status"] == "ok").groupby(names, sort=False).max()
    known = (after["rows"] > 0).to_numpy()
    assert (
        highest.to_numpy()[known].argsort().tolist() == after["log_odds"][known].argsort().tolist()
    )


def test_a_submission_has_a_line_for_each_video_and_picture(enter):
    world = enter("units")
    entries = ["a.mp4", "a.mp4", "b.png", "c.mp4", "c.mp4", "c.mp4"]
    frames = [f"{name}#t={i}" if name != "b.png" else name for i, name in enumerate(entries)]
    table = world.test.table
    table = table.assign(img_name=(frames + table["img_name"].tolist()[6:]))
    path = world.root / "artifacts/manifest/test.parquet"
    changed = replace(world, test=write_manifest(table, "test", path))
    write_noise_features(world.root, changed.test)
    for backbone in world.plan.strengths:
        for fold in world.plan.active:
            write_member_dump(changed, backbone, fold, "test")
    label.run(load_params(MembersParams))
    rows = pd.read_csv("artifacts/labels.csv", keep_default_na=False)
    answers = pd.read_csv("artifacts/prediction.txt", keep_default_na=False)
    assert rows["img_name"].tolist() == table["img_name"].tolist()
    assert answers["img_name"].tolist()[:3] == ["a.mp4", "b.png", "c.mp4"]
    assert len(answers) == len(rows) - 3
    scores = dict(zip(answers["img_name"], answers["y_pred"], strict=True))
    assert scores["b.png"] == rows["score"][2]
    ensemble = read_ensemble(label.STACKERS)
    members = (ensemble.backbones, ensemble.folds, ensemble.train_digest)
    extras = read_extras(label.FORENSICS, changed.test)
    columns = read_held_out(label.DUMPS, changed.test, *members, extras)
    raw = label.score_test_rows(ensemble, columns, changed.test)
    wanted = expit(ensemble.unit_rules.read(ensemble.shipped, np.nanmean(raw[3:6], keepdims=True)))
    assert scores["c.mp4"] == pytest.approx(wanted[0])


def test_the_summary_has_a_table_of_units(world, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    summary.run()
    text = capsys.readouterr().out
    units = read_json(summary.METRICS, "evaluate")["units"]
    assert "by unit: 60 real, 90 fake" in text
    assert "1 with rows of both classes left out" in text
    assert format_interval(units["stack"]) in text
    assert max(map(len, text.splitlines())) <= 80


def test_evaluate_tells_of_units(enter, caplog):
    enter("units")
    with caplog.at_level(logging.INFO, logger="forgerystack"):
        evaluate.run(load_params(MembersParams))
    assert "by unit, on 60 real and 90 fake units, 1 with rows of both classes left out" in (
        caplog.text
    )
