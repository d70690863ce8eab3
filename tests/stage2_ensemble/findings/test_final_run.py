"""Runs without val: what evaluate and summary say of them, and the run that they quote."""

import logging
from dataclasses import replace

import pandas as pd
import pytest
from synthetic_world import World, write_member_dump, write_noise_features, write_perturbed_val

from features.core.files import read_json, read_sealed, write_sealed
from features.core.manifest import write_manifest
from features.null_model import run as null_model
from features.null_model.settings import NullParams
from features.settings.members import MembersParams
from features.settings.sections import load_params
from stage2_ensemble.evaluate import run as evaluate
from stage2_ensemble.findings.final_run import NO_EARLIER, NO_VAL, quote_earlier
from stage2_ensemble.fitted.bundle import read_ensemble
from stage2_ensemble.label import run as label
from stage2_ensemble.summary import run as summary

METRICS, KEPT = evaluate.OUT / "metrics.json", evaluate.OUT / "held_out_metrics.json"


def empty_val(world: World) -> None:
    """Val has no row, as after `data.final`; train stays as it was."""
    path = world.root / "artifacts/manifest/val.parquet"
    changed = replace(world, val=write_manifest(world.val.table.iloc[:0], "val", path))
    write_noise_features(world.root, changed.val)
    for backbone in world.plan.strengths:
        for fold in world.plan.active:
            write_member_dump(changed, backbone, fold, "val")
    write_perturbed_val(changed)
    null_model.run(load_params(NullParams))


@pytest.fixture(params=["one fold", "three folds", "units"])
def name(request) -> str:
    return request.param


@pytest.fixture
def last(name, enter, caplog) -> World:
    """A world whose val went into train after a run with it."""
    world = enter(name)
    with caplog.at_level(logging.INFO, logger="forgerystack"):
        empty_val(world)
        evaluate.run(load_params(MembersParams))
        label.run(load_params(MembersParams))
    return world


def test_a_run_with_val_keeps_its_metrics(done):
    assert read_sealed(KEPT, "evaluate") == read_json(METRICS, "evaluate")


def test_metrics_say_that_there_is_no_val_and_quote_the_earlier_run(last, name, finished):
    metrics, kept = read_json(METRICS, "evaluate"), read_sealed(KEPT, "evaluate")
    before = finished(name)
    assert (last.root / KEPT).read_bytes() == (before.root / KEPT).read_bytes()
    assert metrics["val"] is None
    assert metrics["note"] == NO_VAL
    val = kept["val"]
    assert metrics["earlier"] == {
        "shipped": val["shipped"],
        **{bound: val["stack"][bound] for bound in ("auc", "auc_low", "auc_high")},
        "rows": {"reals": 120, "fakes": 180},
    }
    found = metrics["out_of_fold"]
    assert metrics["shipped"] in found["auc"]
    assert found["read_on"] == ("calibration" if last.plan.calibration else "out-of-fold")
    assert found["threshold"]["tpr"]["value"] > 0.5
    assert found["prior"] == read_ensemble(evaluate.STACKERS).rules.prior.to_json()
    plots = list((before.root / "artifacts/plots").glob("*.csv"))
    assert {path.stem for path in plots} >= {"roc", "reliability_after", "shap_blocks", "without"}
    for path in plots:
        after = pd.read_csv(f"artifacts/plots/{path.name}")
        drawn = pd.read_csv(path)
        assert len(after) == (len(drawn) if path.stem == "without" else 0)
        assert list(after.columns) == list(drawn.columns)


def test_labels_come_out_as_ever(last):
    assert len(pd.read_csv("artifacts/labels.csv")) == len(last.test)


def test_the_log_and_the_summary_tell_both(last, caplog, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    summary.run()
    shown = " ".join(capsys.readouterr().out.split())
    earlier = read_json(KEPT, "evaluate")["val"]["stack"]
    logged = "\n".join(record.getMessage() for record in caplog.get_records("setup"))
    for text in (shown, logged):
        assert NO_VAL in text
        assert f"the earlier run, with val: AUC {earlier['auc']:.3f} [" in text
        assert "on 120 reals and 180 fakes" in text
        assert "the gate has judged again, on out-of-fold rows" in text
    assert "null model: nothing is measured: there is no held-out val" in logged
    assert "Final labels: artifacts/labels.csv" in shown


def test_without_an_earlier_run_that_is_said(enter, caplog):
    world = enter("one fold")
    KEPT.unlink()
    empty_val(world)
    with caplog.at_level(logging.INFO, logger="forgerystack"):
        for _ in range(2):  # the second one finds what the first has left
            evaluate.run(load_params(MembersParams))
            assert read_json(METRICS, "evaluate")["earlier"] == NO_EARLIER
            assert quote_earlier(KEPT) is None
    assert NO_EARLIER in caplog.text


def test_another_candidate_than_in_the_earlier_run_is_told(enter, caplog):
    world = enter("one fold")
    metrics = read_sealed(KEPT, "evaluate")
    shipped = metrics["val"]["shipped"]
    metrics["val"]["shipped"] = "another"
    write_sealed(KEPT, metrics)
    empty_val(world)
    with caplog.at_level(logging.INFO, logger="forgerystack"):
        evaluate.run(load_params(MembersParams))
    assert f"of another, which is not what ships now ({shipped})" in caplog.text
