"""The stage `stack`, end to end on synthetic dumps."""

import logging
import shutil
from dataclasses import replace

import numpy as np
import pytest
from synthetic_world import (
    BACKBONES,
    CANDIDATES,
    STACK,
    draw_train,
    run_stages,
    write_member_dump,
    write_noise_features,
    write_params,
    write_perturbed_train,
    write_perturbed_val,
)

from features.core.files import digest_file, read_json
from features.core.manifest import write_manifest
from features.errors import ConfigError, MissingArtifactError, StaleArtifactError
from features.settings.members import MembersParams
from features.settings.sections import load_params
from features.settings.stacking import Decision, StackParams
from stage2_ensemble.columns.columns import build_fold_columns, read_dumps
from stage2_ensemble.decisions.calibration import choose_calibration
from stage2_ensemble.decisions.scored_rows import ChoiceRows
from stage2_ensemble.decisions.threshold import choose_threshold
from stage2_ensemble.evaluate import run as evaluate
from stage2_ensemble.fitted.bundle import read_ensemble
from stage2_ensemble.stack import run as stack


def digest_stackers(root) -> dict[str, str]:
    folder = root / "artifacts" / "stackers"
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): digest_file(p) for p in files}


def test_files_are_those_of_the_members_in_params(done):
    wanted = {f"models/lightgbm/pca-{k}-{b}.npy" for k in done.plan.active for b in BACKBONES}
    wanted |= {"MANIFEST.json", "ensemble.json", "models/lightgbm/lightgbm-0.txt"}
    rows = ("groups", "labels", "log_odds", "row_ids", "weights")
    wanted |= {f"models/held_out/{name}.npy" for name in rows}
    for left_out in BACKBONES:  # the model that would ship
        own = f"models/without/{left_out}"
        wanted |= {f"{own}/lightgbm-0.txt"}
        others = set(BACKBONES) - {left_out}
        wanted |= {f"{own}/pca-{k}-{b}.npy" for k in done.plan.active for b in others}
    assert set(digest_stackers(done.root)) == wanted


def test_facts_of_the_ensemble(done):
    facts = read_json(done.root / "artifacts/stackers/ensemble.json", "stack")
    assert facts["backbones"] == list(BACKBONES)
    assert facts["folds"] == list(done.plan.active)
    assert facts["train_manifest"] == done.train.digest
    assert facts["rules"]["prior"]["value"] == pytest.approx(np.mean(done.train.labels))
    assert facts["rule_rows"] == ("calibration" if done.plan.calibration else "out-of-fold")
    assert facts["shipped"] == "lightgbm"  # the embeddings know more than the logits
    (verdict,) = facts["verdicts"]
    assert (verdict["name"], verdict["outcome"]) == ("lightgbm", "won")
    gains = {gain["kind"]: gain["difference"] for gain in verdict["unseen"]}
    assert gains["generators"] > 0  # the made-up ones show the same
    assert tuple(facts["models"]) == CANDIDATES
    assert sum(facts["picks"].values()) == STACK["inner_folds"] * STACK["repeats"]
    assert {name: len(auc) for name, auc in facts["oof_auc"].items()} == dict.fromkeys(
        CANDIDATES, len(done.plan.active)
    )


def test_calibration_rows_set_the_rules_and_teach_nothing(enter):
    world = enter("three folds")
    before = read_ensemble(stack.OUT)
    rows = world.train.calibration_rows()
    # Members say something else about the calibration rows: what is learned must stay the same.
    mirrored = world.truth["train"].copy()
    mirrored[rows] = 1 - mirrored[rows]
    changed = replace(world, truth=world.truth | {"train": mirrored})
    for backbone in BACKBONES:
        for fold in (0, 1, 2):
            write_member_dump(changed, backbone, fold, "train")
    after = stack.run(load_params(StackParams))
    for name in ("shipped", "oof_auc", "picks", "verdicts"):
        assert getattr(after, name) == getattr(before, name)
    boosters = [e.models["lightgbm"].boosters[0].model_to_string() for e in (before, after)]
    assert boosters[0] == boosters[1]
    logits = [e.models["logistic"].combiner.to_json() for e in (before, after)]
    assert logits[0] == logits[1]
    for name in CANDIDATES:
        rules = [e.rules.scorers[name].to_json() for e in (before, after)]
        assert rules[0] != rules[1]


def test_rules_of_three_folds_come_from_the_calibration_rows(enter):
    world = enter("three folds")
    ensemble = read_ensemble(stack.OUT)
    spared = [
        build_fold_columns(
            read_dumps(stack.DUMPS, world.train, BACKBONES, k, world.train.digest), world.train
        )[1]
        for k in (0, 1, 2)
    ]
    rows = ChoiceRows(
        row_ids=spared[0].row_ids,
        log_odds=ensemble.score("logistic", spared),
        groups=world.train.groups[spared[0].row_ids],
        labels=world.train.labels[spared[0].row_ids],
        weights=world.train.weights[spared[0].row_ids],
    ).at_prior(ensemble.rules.prior.train)
    wanted = choose_calibration(rows)
    found = ensemble.rules.scorers["logistic"]
    assert found.calibration.to_json() == wanted.to_json()
    read = rows.with_log_odds(wanted.apply(rows.log_odds))
    assert ensemble.shipped != "logistic"
    assert found.threshold == choose_threshold(read, Decision(), draws=0)


def test_a_second_run_writes_the_same_bytes(enter):
    world = enter("one fold")
    before = digest_stackers(world.root)
    shutil.rmtree(stack.OUT)
    stack.run(load_params(StackParams))
    assert digest_stackers(world.root) == before
    write_params(world, seed=1)
    stack.run(load_params(StackParams))
    assert digest_stackers(world.root) != before


def test_policy_and_settings_come_from_params(enter):
    world = enter("one fold")
    before = read_ensemble(stack.OUT)
    settings = STACK | {"pca_components": 2}
    write_params(world, stack=settings, decision={"threshold": "accuracy"})
    after = stack.run(load_params(StackParams))
    for ensemble, count in ((before, 4), (after, 2)):
        axes = ensemble.models["lightgbm"].table.axes[0]
        assert [len(a.projection.components) for a in axes] == [count] * len(BACKBONES)
    thresholds = [e.rules.scorers["mean"].threshold for e in (before, after)]
    assert [t.policy for t in thresholds] == ["balanced_accuracy", "accuracy"]
    assert thresholds[0].value != thresholds[1].value


def test_columns_candidates_and_gate_come_from_params(enter):
    world = enter("one fold")
    declared = ["lightgbm", "random_forest"]
    settings = STACK | {"columns": ["*", "!distance:*", "!forensic:*"], "candidates": declared}
    write_params(world, stack=settings, gate={"margin": 0.4})
    after = stack.run(load_params(StackParams))
    assert tuple(after.models) == (*CANDIDATES, "random_forest")
    for name in declared:
        names = after.models[name].table.names
        assert names == (*(f"logit:{b}" for b in BACKBONES), "spread", "margin")
    assert [v.outcome for v in after.verdicts] == ["lost", "lost"]
    assert after.shipped in CANDIDATES[:-1]
    assert read_ensemble(stack.OUT).verdicts == after.verdicts
    write_params(world, stack=settings | {"candidates": []})
    assert tuple(stack.run(load_params(StackParams)).models) == CANDIDATES[:-1]


@pytest.mark.parametrize(
    ("section", "value", "said"),
    [
        ("stack", {"columns": []}, r"stack\.columns"),
        ("stack", {"candidates": ["xgboost"]}, r"stack\.candidates"),
        ("stack", {"inner_folds": 2}, r"stack\.inner_folds"),
        ("stack", {"class_weight": "both"}, r"stack\.class_weight"),
        ("stack", {"class_weight": 0}, r"stack\.class_weight"),
        ("stack", {"feature_fraction": 1.1}, r"stack\.feature_fraction"),
        ("gate", {"margin": -0.1}, r"gate\.margin"),
        ("decision", {"threshold": "fpr"}, r"needs a target"),
        ("decision", {"review": 0.6}, r"decision\.review"),
        ("label", {"prior": 1.5}, r"label\.prior"),
    ],
)
def test_settings_that_make_no_sense_are_named(enter, section, value, said):
    world = enter("one fold")
    write_params(world, **{section: value})
    with pytest.raises(ConfigError, match=said):
        load_params(StackParams)


def test_columns_that_leave_nothing_are_named(enter):
    world = enter("one fold")
    write_params(world, stack=STACK | {"columns": ["file:*"]})
    with pytest.raises(ConfigError, match=r"stack\.columns .*fits none of logit:net-a"):
        stack.run(load_params(StackParams))


def test_candidates_and_verdicts_are_logged(enter, caplog):
    enter("one fold")
    with caplog.at_level(logging.INFO, "forgerystack"):
        ensemble = stack.run(load_params(StackParams))
    lines = [m for m in caplog.messages if m.startswith("stack: out-of-fold AUC 0.")]
    assert [line.split()[4] for line in lines] == list(CANDIDATES)
    said = f"gate: AUC against the best simple combiner, {ensemble.verdicts[0].describe()}"
    assert said in caplog.messages


def test_val_changes_nothing_in_the_stackers(enter):
    world = enter("one fold")
    before = digest_stackers(world.root)
    metrics = read_json(world.root / "artifacts/metrics.json", "evaluate")
    table = world.val.table.assign(label=1 - world.val.labels)
    path = world.root / "artifacts/manifest/val.parquet"
    changed = replace(world, val=write_manifest(table, "val", path))
    write_noise_features(world.root, changed.val)
    for backbone in BACKBONES:
        write_member_dump(changed, backbone, 0, "val")
    write_perturbed_val(changed)
    run_stages(changed)
    assert digest_stackers(world.root) == before
    mended = read_json(world.root / "artifacts/metrics.json", "evaluate")
    for name in CANDIDATES:
        assert mended["val"][name]["auc"] == pytest.approx(1 - metrics["val"][name]["auc"])


def test_stack_needs_no_val_and_no_test(enter):
    world = enter("one fold")
    before = digest_stackers(world.root)
    for role in ("val", "test"):
        (world.root / f"artifacts/manifest/{role}.parquet").unlink()
        for path in (world.root / "artifacts/dumps").rglob(f"{role}.*"):
            path.unlink()
    shutil.rmtree(stack.OUT)
    stack.run(load_params(StackParams))
    assert digest_stackers(world.root) == before


# --- members that are not there, no longer there, or others


def test_a_backbone_without_dumps_names_its_dump_stage(enter):
    world = enter("one fold")
    write_params(world, backbones={name: {} for name in (*BACKBONES, "new")})
    with pytest.raises(MissingArtifactError, match="dvc repro dump@new-0"):
        stack.run(load_params(StackParams))


def test_a_fold_without_dumps_names_its_dump_stage(enter):
    world = enter("one fold")
    write_params(world, folds={"count": 3, "active": [0, 2]})
    with pytest.raises(MissingArtifactError, match="dvc repro dump@net-a-2"):
        stack.run(load_params(StackParams))


def test_dumps_of_members_that_params_do_not_name_are_not_used(enter):
    world = enter("three folds")
    names = ("net-a", "net_c")
    write_params(world, backbones={n: {} for n in names}, folds={"count": 3, "active": [0, 2]})
    ensemble = stack.run(load_params(StackParams))
    assert (ensemble.backbones, ensemble.folds) == (names, (0, 2))
    assert not {n for n in ensemble.rules.scorers if n.startswith("net-b")}


def test_dumps_of_another_train_manifest_are_stale(enter):
    world = enter("one fold")
    table = draw_train(replace(world.plan, seed=9))
    train = write_manifest(table, "train", world.root / "artifacts/manifest/train.parquet")
    with pytest.raises(StaleArtifactError, match="dvc repro forensics"):
        stack.run(load_params(StackParams))
    write_noise_features(world.root, train)
    with pytest.raises(StaleArtifactError, match=r"dvc repro dump@net-a-0"):
        stack.run(load_params(StackParams))


def test_members_of_another_train_manifest_are_stale(enter):
    world = enter("one fold")
    write_member_dump(world, "net-b", 0, "train", train_digest="e" * 64)
    with pytest.raises(StaleArtifactError, match=r"eeeeeeee.*dvc repro train@net-b-0"):
        stack.run(load_params(StackParams))


def test_an_ensemble_of_other_members_is_stale(enter):
    world = enter("one fold")
    write_params(world, backbones={"net-a": {}, "net-b": {}})
    with pytest.raises(StaleArtifactError, match=r"(?s)net_c.*dvc repro stack"):
        evaluate.run(load_params(MembersParams))


# --- thresholds by tiers


@pytest.mark.parametrize("plan", ["one fold", pytest.param("three folds", marks=pytest.mark.scale)])
def test_a_threshold_by_tiers_keeps_its_promise_on_damaged_val(enter, plan):
    """The web's damage takes half of the members' signal, and so lifts reals."""
    world = enter(plan)
    alone = read_json(evaluate.OUT / "metrics.json", "evaluate")
    assert alone["threshold"]["tiers"] == {}
    assert "fpr_web" not in alone["promises"]
    write_perturbed_train(world)
    write_params(world, decision={"threshold": "fpr", "target": 0.1, "tiers": ["web"]})
    ensemble = stack.run(load_params(StackParams))
    found = evaluate.run(load_params(MembersParams))
    chosen = found["threshold"]["tiers"]["web"]
    assert chosen["fpr"]["value"] <= 0.1
    clean, web = (v["scorers"]["stack"]["fpr"] for v in found["robustness"]["variants"][:2])
    assert clean <= web
    promise = found["promises"]["fpr_web"]
    assert promise["title"] == "FPR at the threshold, web"
    assert promise["realised"] == pytest.approx(web)
    assert promise["verdict"] in ("kept", "missed by chance")
    assert found["val"]["shipped"] == alone["val"]["shipped"]
    assert found["val"]["stack"]["auc"] == alone["val"]["stack"]["auc"]  # thresholds alone follow
    for rule in ensemble.rules.scorers.values():
        assert set(rule.threshold.tiers) == {"web"}


def test_without_scores_under_tiers_it_names_the_stage(enter):
    world = enter("one fold")
    write_params(world, decision={"threshold": "fpr", "target": 0.1, "tiers": ["web"]})
    with pytest.raises(MissingArtifactError, match="dvc repro tiers"):
        stack.run(load_params(StackParams))
