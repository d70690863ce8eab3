"""The stage `evaluate`: the fixed form of metrics.json, and its numbers, from the files alone."""

import logging
import shutil

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as peer
from synthetic_world import BACKBONES, write_member_dump, write_params

from features.errors import MissingArtifactError, StaleArtifactError
from features.files import digest_file, read_json, read_sealed, write_sealed
from features.params import load_params
from features.stack_params import MembersParams
from stage2_ensemble import evaluate
from stage2_ensemble.bundle import read_ensemble
from stage2_ensemble.columns import read_held_out
from stage2_ensemble.ensemble import CANDIDATES
from stage2_ensemble.metrics import measure_scores

METRICS = {
    "auc",
    "ap",
    "accuracy",
    "balanced_accuracy",
    "tpr_at_fpr_1e-2",
    "tpr_at_fpr_1e-3",
    "log_loss",
}


def read_metrics(world) -> dict:
    return read_json(world.root / "artifacts" / "metrics.json", "evaluate")


def read_val(world):
    ensemble = read_ensemble(evaluate.STACKERS)
    members = (ensemble.backbones, ensemble.folds, ensemble.train_digest)
    return ensemble, read_held_out(evaluate.DUMPS, world.val, *members)


def test_metrics_have_exactly_the_fixed_form(done):
    metrics = read_metrics(done)
    assert set(metrics) == {"val", "rows", "generators"}
    assert metrics["rows"] == {"val": {"reals": 120, "fakes": 180}}
    val = metrics["val"]
    assert set(val) == {"members", *CANDIDATES, "stack", "shipped"}
    assert set(val["members"]) == {f"{b}-{k}" for b in BACKBONES for k in done.plan.active}
    for values in (*val["members"].values(), *(val[name] for name in (*CANDIDATES, "stack"))):
        assert set(values) == METRICS
        assert values["tpr_at_fpr_1e-3"] is None  # 120 reals are too few
        assert all(isinstance(values[m], float) for m in METRICS - {"tpr_at_fpr_1e-3"})


def test_stack_is_what_ships(done):
    val = read_metrics(done)["val"]
    assert val["shipped"] in CANDIDATES
    assert val["stack"] == val[val["shipped"]]


def test_metrics_are_those_of_the_members_logits(done):
    val = read_metrics(done)["val"]
    ensemble, columns = read_val(done)
    for c in columns:
        for i, backbone in enumerate(BACKBONES):
            name = f"{backbone}-{c.fold}"
            wanted = measure_scores(done.val.labels, c.logits[:, i], ensemble.thresholds[name])
            assert val["members"][name] == wanted


def test_metrics_are_those_of_the_ensembles_scores(done):
    val = read_metrics(done)["val"]
    ensemble, columns = read_val(done)
    for name in CANDIDATES:
        scores = ensemble.score(name, columns)
        assert val[name] == measure_scores(done.val.labels, scores, ensemble.thresholds[name])


def test_generators_are_measured_against_all_reals(done):
    found = read_metrics(done)["generators"]
    ensemble, columns = read_val(done)
    scores = ensemble.score(ensemble.shipped, columns)
    names = done.val.table["generator"].to_numpy()
    assert set(found) == {"gan", "diffusion"}  # fakes without one are left out
    for name, values in found.items():
        keep = (done.val.labels == 0) | (names == name)
        auc = peer.roc_auc_score(done.val.labels[keep], scores[keep])
        fakes = int((names == name).sum())
        assert values == {"auc": pytest.approx(auc), "fakes": fakes, "reals": 120}


def test_plots_hold_every_candidate_on_its_grid(done):
    roc = pd.read_csv(done.root / "artifacts/plots/roc.csv")
    pr = pd.read_csv(done.root / "artifacts/plots/pr.csv")
    assert list(roc) == ["fpr", *CANDIDATES, "stack"]
    assert list(pr) == ["recall", *CANDIDATES, "stack"]
    ensemble, columns = read_val(done)
    scores = ensemble.score("mean", columns)
    fpr, tpr, _ = peer.roc_curve(done.val.labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(roc["mean"], [tpr[fpr <= x].max() for x in roc["fpr"]])
    precision, recall, _ = peer.precision_recall_curve(done.val.labels, scores)
    wanted = [precision[:-1][recall[:-1] >= x - 1e-9].max() for x in pr["recall"]]
    np.testing.assert_allclose(pr["mean"], wanted)
    shipped = read_metrics(done)["val"]["shipped"]
    np.testing.assert_array_equal(roc["stack"], roc[shipped])
    np.testing.assert_array_equal(pr["stack"], pr[shipped])


def test_three_folds_beat_each_of_them(finished):
    val = read_metrics(finished("three folds"))["val"]
    for backbone in BACKBONES:
        assert max(val["members"][f"{backbone}-{k}"]["auc"] for k in (0, 1, 2)) < val["mean"]["auc"]
    assert val["members"]["net-b-0"]["auc"] == pytest.approx(0.87, abs=0.04)  # Φ(√2 · 0.8)
    assert val["members"]["net_c-1"]["auc"] == pytest.approx(0.66, abs=0.07)


def test_the_log_says_when_what_ships_is_below_the_mean(enter, caplog):
    world = enter("one fold")
    place = world.root / "artifacts/dumps"
    for backbone in BACKBONES:  # the embeddings on val say the opposite of those on fold 0
        path = place / backbone / "0" / "val.embeddings.npy"
        np.save(path, -np.load(path))
        facts = read_sealed(path.with_name("val.json"), "dump")
        facts["sha256"]["embeddings"] = digest_file(path)
        write_sealed(path.with_name("val.json"), facts)
    with caplog.at_level(logging.INFO, "forgerystack"):
        val = evaluate.run(load_params(MembersParams))["val"]
    assert val["stack"]["auc"] < val["mean"]["auc"]
    assert caplog.messages[-1].endswith("below the plain mean of the members")


# --- what is missing or stale


def test_without_stackers_it_names_the_stage(enter):
    enter("one fold")
    shutil.rmtree(evaluate.STACKERS)
    with pytest.raises(MissingArtifactError, match="dvc repro stack"):
        evaluate.run(load_params(MembersParams))


def test_without_val_dumps_it_names_the_stage(enter):
    world = enter("one fold")
    (world.root / "artifacts/dumps/net-b/0/val.json").unlink()
    with pytest.raises(MissingArtifactError, match="dvc repro dump@net-b-0"):
        evaluate.run(load_params(MembersParams))


def test_members_of_another_train_manifest_than_the_ensembles_are_stale(enter):
    world = enter("one fold")
    for backbone in BACKBONES:
        write_member_dump(world, backbone, 0, "val", train_digest="c" * 64)
    with pytest.raises(StaleArtifactError, match="cccccccc"):
        evaluate.run(load_params(MembersParams))


@pytest.mark.parametrize("active", [[0], [0, 1], [0, 1, 3]])
def test_other_active_folds_than_the_ensembles_are_stale(enter, active):
    world = enter("three folds")
    write_params(world, folds={"count": 3, "active": active})
    with pytest.raises(StaleArtifactError, match="dvc repro stack"):
        evaluate.run(load_params(MembersParams))
