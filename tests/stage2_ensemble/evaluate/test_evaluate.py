"""The stage `evaluate`: the fixed form of metrics.json, and its numbers, from the files alone."""

import logging
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as peer
from synthetic_world import (
    BACKBONES,
    STRICTNESS,
    replace_val,
    run_stages,
    write_member_dump,
    write_params,
)

from features.artifacts.null_model import NullFindings, write_null_model
from features.core.files import digest_file, read_json, read_sealed, write_sealed
from features.core.number_text import format_difference, format_figure
from features.errors import MissingArtifactError, StaleArtifactError
from features.runtime.costs import Measured, record_seconds
from features.settings.members import MembersParams
from features.settings.sections import load_params
from stage2_ensemble.charts.charts import build_charts
from stage2_ensemble.columns.columns import read_held_out, read_train_columns
from stage2_ensemble.columns.extras import read_extras
from stage2_ensemble.display.tables import list_tables
from stage2_ensemble.evaluate import run as evaluate
from stage2_ensemble.explanations.contributions import explain_model
from stage2_ensemble.findings.scorers import compare_figures, measure_with_intervals
from stage2_ensemble.fitted.bundle import read_ensemble
from stage2_ensemble.fitted.ensemble import average_scores
from stage2_ensemble.measures.reliability import find_bins, measure_ece
from stage2_ensemble.models.candidates import CANDIDATES, GATED, SIMPLE
from stage2_ensemble.report.model_card import build_card
from stage2_ensemble.report.questions import answer_questions
from stage2_ensemble.sentences.scorers import METRIC_TITLES, describe_rates

NAMES = (
    *("auc", "ap", "accuracy", "balanced_accuracy"),
    *("tpr_at_fpr_1e-2", "tpr_at_fpr_1e-3", "log_loss", "ece"),
)
ENDS = ("", "_low", "_high")
METRICS = {name + end for name in NAMES for end in ENDS} | {
    *("false_positives_1e-2", "false_positives_1e-3", "groups", "reliable")
}
PAIRED = ("auc", "ap", "tpr_at_fpr_1e-2", "accuracy", "balanced_accuracy", "log_loss")
THERE = (*SIMPLE, "lightgbm")
"""Candidates of the made-up worlds."""
ROLES = ("train", "val")
BOUNDS = ("auc", "auc_low", "auc_high")


def read_metrics(world) -> dict:
    return read_json(world.root / "artifacts" / "metrics.json", "evaluate")


def read_val(world):
    ensemble = read_ensemble(evaluate.STACKERS)
    members = (ensemble.backbones, ensemble.folds, ensemble.train_digest)
    return ensemble, read_held_out(
        evaluate.DUMPS, world.val, *members, read_extras(evaluate.FORENSICS, world.val)
    )


def measure(world, ensemble, name, raw) -> dict:
    """The metrics of a scorer's log-odds, read as they are for labels."""
    scores = ensemble.rules.read(name, raw)
    threshold = ensemble.rules.find_threshold(name)
    return measure_with_intervals(world.val.labels, scores, world.val.groups, threshold).metrics


def test_metrics_have_exactly_the_fixed_form(done):
    metrics = read_metrics(done)
    checks = {"calibration", "threshold", "prior", "promises", "answers"}
    reasons = {"blocks", "without", "backbone_figures"}
    places = {"val", "rows", "generators", "domains", "called_fake", "robustness"}
    assert set(metrics) == places | checks | reasons
    assert metrics["rows"] == {"val": {"reals": 120, "fakes": 180}}
    val = metrics["val"]
    assert set(val) == {*("members", *THERE, "stack", "shipped", "differences", "null_model")}
    assert set(val["members"]) == {f"{b}-{k}" for b in BACKBONES for k in done.plan.active}
    for values in (*val["members"].values(), *(val[name] for name in (*THERE, "stack"))):
        assert set(values) == METRICS
        assert (values["groups"], values["reliable"]) == (300, True)
        assert values["tpr_at_fpr_1e-3"] is None  # 120 reals are too few
        assert values["false_positives_1e-3"] is None
        assert values["false_positives_1e-2"] in (0, 1)
        for name in set(NAMES) - {"tpr_at_fpr_1e-3"}:
            assert values[f"{name}_low"] <= values[name] <= values[f"{name}_high"]


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
            assert val["members"][name] == measure(done, ensemble, name, c.logits[:, i])


def test_metrics_are_those_of_the_ensembles_scores(done):
    val = read_metrics(done)["val"]
    ensemble, columns = read_val(done)
    for name in THERE:
        assert val[name] == measure(done, ensemble, name, ensemble.score(name, columns))


def test_what_ships_is_compared_with_the_mean_and_the_best_single(done):
    val = read_metrics(done)["val"]
    ensemble, columns = read_val(done)
    labels, groups = done.val.labels, done.val.groups

    def measure_candidate(name):
        scores = ensemble.read_all(columns)[name]
        return measure_with_intervals(labels, scores, groups, ensemble.rules.find_threshold(name))

    assert set(val["differences"]) == {"mean", "best_single"} - {val["shipped"]}
    for name, found in val["differences"].items():
        both = (measure_candidate(val["shipped"]), measure_candidate(name))
        assert found == compare_figures(labels, groups, *both)
        assert set(found) == {metric + end for metric in PAIRED for end in ENDS}
        for metric in PAIRED:
            assert found[metric] == pytest.approx(val["stack"][metric] - val[name][metric])


def test_generators_are_measured_against_the_seen_reals(done):
    found = read_metrics(done)["generators"]
    ensemble, columns = read_val(done)
    scores = ensemble.score(ensemble.shipped, columns)
    names = done.val.table["generator"].to_numpy()
    assert set(found) == {"gan", "diffusion"}  # fakes without one are left out
    for name, values in found.items():
        keep = (done.val.labels == 0) | (names == name)
        auc = peer.roc_auc_score(done.val.labels[keep], scores[keep])
        fakes = int((names == name).sum())
        assert values["auc_low"] < values["auc"] <= values["auc_high"]
        assert {k: v for k, v in values.items() if k not in ("auc_low", "auc_high")} == {
            "auc": pytest.approx(auc),
            "groups": 120 + fakes,
            "reliable": True,
            "null_auc": 0.5,
            "fakes": fakes,
            "reals": 120,
            "domain": "seen",
            "against": f"{fakes} fakes of {name} against 120 seen reals",
        }


def test_where_all_is_seen_there_is_no_gap(done):
    metrics = read_metrics(done)
    assert set(metrics["domains"]) == {"seen"}
    seen, stack = metrics["domains"]["seen"], metrics["val"]["stack"]
    assert [seen[key] for key in BOUNDS] == [stack[key] for key in BOUNDS]
    assert seen["against"] == "180 seen fakes against 120 seen reals"


def test_the_null_model_stands_beside(done):
    found = read_metrics(done)["val"]["null_model"]
    assert found == {
        "auc": 0.5,
        "auc_low": 0.5,
        "auc_high": 0.5,
        "told_apart": False,
        "main_feature": "width",
    }


# --- new generators


def test_headline_figures_leave_held_out_rows_aside(finished, monkeypatch):
    world = finished("new generators")
    monkeypatch.chdir(world.root)
    metrics = read_metrics(world)
    table = world.val.table
    keep = (table["domain"] != "held_out").to_numpy()
    fakes = int(world.val.labels[keep].sum())
    assert fakes < 180
    assert metrics["rows"] == {"val": {"reals": 120, "fakes": fakes}}
    ensemble, columns = read_val(world)
    name = metrics["val"]["shipped"]
    scores = ensemble.read_all(columns)[name][keep]
    labels, groups = world.val.labels[keep], world.val.groups[keep]
    wanted = measure_with_intervals(
        labels, scores, groups, ensemble.rules.find_threshold(name)
    ).metrics
    assert metrics["val"]["stack"] == metrics["val"][name] == wanted
    roc = pd.read_csv("artifacts/plots/roc.csv")
    fpr, tpr, _ = peer.roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(roc["stack"], [tpr[fpr <= x].max() for x in roc["fpr"]])


def test_rows_called_fake_are_counted_by_source_of_reals_and_by_generator_of_fakes(done):
    found = read_metrics(done)["called_fake"]
    rows = pd.read_parquet("artifacts/evaluation.parquet")
    threshold = read_metrics(done)["threshold"]["read"]
    rows = rows.assign(called=rows["score:stack"] >= threshold)
    for kind, label, column in (("reals", 0, "source"), ("fakes", 1, "generator")):
        own = rows[rows["label"] == label]
        assert found[kind]["all"]["rows"] == len(own)
        wanted = own[own[column] != ""].groupby(column)["called"].agg(["mean", "size"])
        listed = {e["name"]: (e["called_fake"], e["rows"]) for e in found[kind][f"{column}s"]}
        assert listed == {n: (pytest.approx(m), size) for n, m, size in wanted.itertuples()}
        assert len(listed) > 1
    if "held_out" not in set(rows["domain"]):
        promises = read_metrics(done)["promises"]
        for kind, rate in (("reals", "fpr"), ("fakes", "tpr")):
            assert found[kind]["all"]["called_fake"] == promises[rate]["realised"]


def test_new_generators_look_real_and_the_gap_says_so(finished):
    world = finished("new generators")
    metrics = read_metrics(world)
    domains, generators = metrics["domains"], metrics["generators"]
    assert set(domains) == {"seen", "unseen", "held_out", "gap"}
    assert {name: v["domain"] for name, v in generators.items()} == world.plan.domains
    for name, domain in world.plan.domains.items():
        assert [generators[name][k] for k in BOUNDS] == [domains[domain][k] for k in BOUNDS]
        error = (domains[domain]["auc_high"] - domains[domain]["auc_low"]) / (2 * 1.96)
        assert abs(domains[domain]["auc"] - 0.5) < STRICTNESS * error
        fakes = generators[name]["fakes"]
        adjective = domain.replace("_", "-")
        assert generators[name]["against"] == f"{fakes} fakes of {name} against 120 seen reals"
        assert domains[domain]["against"] == f"{fakes} {adjective} fakes against 120 seen reals"
    assert domains["seen"]["auc_low"] > 0.85
    gap = domains["gap"]
    assert 0.3 < gap["auc_low"] < gap["auc"] < gap["auc_high"] <= 1
    seen, unseen, held = (domains[name]["against"] for name in ("seen", "unseen", "held_out"))
    assert gap["against"] == f"{seen}, minus {unseen} and {held}"


def test_the_log_has_both_sides_and_the_null_model_beside_every_auc(enter, caplog):
    enter("new generators")
    with caplog.at_level(logging.INFO, "forgerystack"):
        metrics = evaluate.run(load_params(MembersParams))
    lines = [m.removeprefix("evaluate: ") for m in caplog.messages]
    values = metrics["val"]["stack"]
    auc = format_figure(*(values[end] for end in BOUNDS))
    assert f"val AUC {auc} {metrics['val']['shipped']}  <- ships" in lines
    assert "null model: AUC 0.500 [0.500, 0.500] from file facts, without any picture" in lines
    found = metrics["generators"]["gan"]
    text = f"val AUC {format_figure(*(found[end] for end in BOUNDS))} on {found['against']}"
    assert f"{text} (null model 0.500; unseen)" in lines
    for domain in ("seen", "unseen", "held_out"):
        found = metrics["domains"][domain]
        auc = format_figure(*(found[end] for end in BOUNDS))
        assert f"val AUC {auc} on {found['against']} (null model 0.500)" in lines
    gap = metrics["domains"]["gap"]
    difference = format_difference(*(gap[end] for end in BOUNDS))
    (line,) = [line for line in lines if difference in line and gap["against"] in line]
    assert line.startswith("AUC on seen minus on unseen generators ")


def test_the_log_has_differences_and_the_rows_behind_a_tpr(enter, caplog):
    enter("one fold")
    with caplog.at_level(logging.INFO, "forgerystack"):
        val = evaluate.run(load_params(MembersParams))["val"]
    lines = [m.removeprefix("evaluate: ") for m in caplog.messages]
    for name, found in val["differences"].items():
        parts = [
            f"{METRIC_TITLES[m]} {format_difference(*(found[m + end] for end in ENDS))}"
            for m in PAIRED
        ]
        assert f"what ships minus {name}: {', '.join(parts)}" in lines
    count = val["stack"]["false_positives_1e-2"]
    (note,) = [line for line in lines if "false positives" in line]
    assert f"behind TPR at FPR 1 %: {count} of 120 reals; fewer than 10" in note


def test_few_groups_are_not_reliable_and_the_log_says_so(enter, caplog):
    world = enter("one fold")
    table = world.val.table.assign(group=np.arange(300) % 10)
    replace_val(world, table)
    with caplog.at_level(logging.INFO, "forgerystack"):
        metrics = evaluate.run(load_params(MembersParams))
    stack = metrics["val"]["stack"]
    assert (stack["groups"], stack["reliable"]) == (10, False)
    assert not metrics["generators"]["gan"]["reliable"]
    ships = next(m for m in caplog.messages if m.endswith("<- ships"))
    assert "(interval not reliable)" in ships
    assert any("what ships: interval not reliable" in m for m in caplog.messages)


def test_what_the_null_model_finds_is_measured_on_the_same_rows(enter):
    """Scores of a null model that tells `gan` from reals, and nothing else."""
    world = enter("new generators")
    table = world.val.table
    scores = (table["generator"] == "gan").to_numpy(np.float64)
    facts = {"told_apart": True, "main_feature": "bytes"}
    write_null_model(NullFindings(scores, facts), world.train, world.val, evaluate.NULL_MODEL)
    metrics = evaluate.run(load_params(MembersParams))
    assert metrics["generators"]["gan"]["null_auc"] == 1.0
    assert metrics["generators"]["diffusion"]["null_auc"] == 0.5
    assert metrics["domains"]["unseen"]["null_auc"] == 1.0
    assert metrics["domains"]["seen"]["null_auc"] == 0.5
    keep = (table["domain"] != "held_out").to_numpy()
    null = metrics["val"]["null_model"]
    assert null["auc"] == pytest.approx(peer.roc_auc_score(world.val.labels[keep], scores[keep]))
    assert null["auc_low"] < null["auc"] < null["auc_high"]
    assert (null["told_apart"], null["main_feature"]) == (True, "bytes")


# --- rules


def test_calibration_before_and_after_is_that_of_val(done):
    metrics = read_metrics(done)
    ensemble, columns = read_val(done)
    name = ensemble.shipped
    raw = ensemble.score(name, columns)
    found = metrics["calibration"]
    assert found["chosen_on"] == ensemble.rule_rows
    assert found["name"] == ensemble.rules.scorers[name].calibration.calibrator.name
    for key, scores in (("val_before", raw), ("val_after", ensemble.rules.read(name, raw))):
        wanted = measure_ece(done.val.labels, scores, find_bins(scores))
        assert found[key]["ece"] == pytest.approx(wanted)
        assert found[key]["ece_low"] <= wanted <= found[key]["ece_high"]
        when = key.removeprefix("val_")
        table = pd.read_csv(done.root / f"artifacts/plots/reliability_{when}.csv")
        distance = (table["mass"] * (table["predicted"] - table["observed"]).abs()).sum()
        assert distance == pytest.approx(wanted)
    assert found["val_after"]["ece"] == metrics["val"]["stack"]["ece"]


def test_promises_are_checked_on_val(done):
    metrics = read_metrics(done)
    assert metrics["prior"]["val"] == 0.6
    assert metrics["prior"]["assumed"]["source"] == "train"
    assert "300 rows can be read" in metrics["prior"]["estimated_on_val"]["reason"]
    promises = metrics["promises"]
    assert set(promises) == {
        *("prior", "fpr", "tpr", "intercept", "slope", "ece", "ece_own_shares")
    }
    ensemble, columns = read_val(done)
    scores = ensemble.read_all(columns)[ensemble.shipped]
    called = scores >= ensemble.rules.find_threshold(ensemble.shipped)
    assert promises["fpr"]["realised"] == pytest.approx(called[done.val.labels == 0].mean())
    assert promises["fpr"]["promised"] == metrics["threshold"]["fpr"]["value"]


def test_policy_band_and_share_of_params_are_promised_and_told(enter, caplog):
    world = enter("one fold")
    write_params(
        world,
        decision={"threshold": "fpr", "target": 0.1, "review": 0.2},
        label={"prior": 0.5},
    )
    with caplog.at_level(logging.INFO, "forgerystack"):
        run_stages(world)
    metrics = read_metrics(world)
    assert metrics["promises"]["fpr"]["promised"] == 0.1
    assert metrics["promises"]["reals_called_fake"]["promised"] == 0.2
    assert metrics["prior"]["assumed"]["value"] == 0.5
    text = "\n".join(caplog.messages)
    assert "evaluate: FPR at the threshold: promised at most 0.1, realised 0." in text
    assert "evaluate: reals called fake: promised at most 0.2, realised 0." in text
    assert "probabilities assume 0.500 (label.prior is 0.5)" in text
    assert re.search(r"evaluate: calibration: \w+, chosen on out-of-fold rows .*; ECE 0\.", text)
    assert re.search(r"evaluate: threshold: log-odds \S+ \[\S+, \S+\] by fpr", text)
    labels = pd.read_csv(world.root / "artifacts/labels.csv")["label"]
    assert labels[3] == "review"  # it cannot be read
    assert set(labels) <= {"real", "fake", "review"}
    check_that_figures_are_those_of_the_band(metrics, text)


def check_that_figures_are_those_of_the_band(metrics, log):
    rows = pd.read_parquet("artifacts/evaluation.parquet")
    answers, called = metrics["answers"], metrics["called_fake"]
    for label, kind in enumerate(("reals", "fakes")):
        decisions = rows["decision"][rows["label"] == label]
        for answer in ("real", "fake", "review"):
            share = answers[kind][answer]
            assert share["value"] == pytest.approx((decisions == answer).mean())
        assert called[kind]["all"]["called_fake"] == answers[kind]["fake"]["value"]
    review, scores = answers["review"], rows["score:stack"]
    between = (scores > review["low"]) & (scores < review["high"])
    assert set(rows["decision"][between]) == {"review"}
    rates = describe_rates(answers)
    assert rates.count("to review") == 2
    card = build_card(
        metrics,
        answer_questions(metrics, [], metrics["val"]["shipped"]),
        list_tables(metrics),
        {role: {"reals": 1, "fakes": 1, "groups": 1, "generators": {}} for role in ROLES},
        *({}, {}, "data", "square", 64),
    ).replace("\\", "")
    plots = {path.stem: pd.read_csv(path) for path in Path("artifacts/plots").glob("*.csv")}
    captions = {chart.name: chart.text for chart in build_charts(metrics, plots)}
    for text in (log, card, captions["roc_log"]):
        assert rates in text
    assert "called fake by its review band" in card
    assert "by its review band" in captions["roc_log"]
    assert captions["confusion_matrix"].startswith("By the review band, of ")
    assert "between them it is left to review" in captions["scores"]


# --- reasons


def test_reasons_have_exactly_the_fixed_form(done):
    metrics = read_metrics(done)
    backbones = [f"backbone:{b}" for b in BACKBONES]
    assert tuple(metrics["blocks"]) == THERE
    for name, blocks in metrics["blocks"].items():
        others = ["disagreement", "forensic:noise", "forensic:srm"] if name in GATED else []
        assert list(blocks) == backbones + others
        for values in blocks.values():
            assert set(values) == {"contribution", "gain", "weight"}
            assert (values["contribution"] is None) == (name == "rank_mean")
            assert (values["gain"] is None) == (name in SIMPLE)
            assert (values["weight"] is None) == (name in GATED)
    differences = {start + end for start in ("", "simple_", "val_") for end in BOUNDS}
    assert list(metrics["without"]) == list(BACKBONES)
    for values in metrics["without"].values():
        assert set(values) == {"name"} | differences
        assert values["name"] == metrics["val"]["shipped"] == "lightgbm"


def test_blocks_are_those_of_the_log_odds_of_val(done):
    metrics = read_metrics(done)
    ensemble, columns = read_val(done)
    found = metrics["blocks"]
    for name in ("logistic", "lightgbm"):
        wanted = explain_model(ensemble.models[name], columns).measure_blocks()
        assert {block: v["contribution"] for block, v in found[name].items()} == wanted
    assert [found["mean"][f"backbone:{b}"]["weight"] for b in BACKBONES] == [1 / 3] * 3
    (best,) = [b for b in BACKBONES if found["best_single"][f"backbone:{b}"]["weight"]]
    assert best == "net-b"
    assert sum(values["gain"] for values in found["lightgbm"].values()) == pytest.approx(1)
    noise = sum(found["lightgbm"][f"forensic:{f}"]["contribution"] for f in ("noise", "srm"))
    assert noise < 0.1 * found["lightgbm"]["backbone:net-b"]["contribution"]


def test_a_backbone_left_out_is_measured_on_val_with_a_model_without_it(done):
    ensemble, columns = read_val(done)
    shipped = ensemble.score(ensemble.shipped, columns)
    for backbone, values in read_metrics(done)["without"].items():
        less = ensemble.without[backbone]
        scores = average_scores(less.model, [c.without(backbone) for c in columns])
        auc = peer.roc_auc_score(done.val.labels, scores)
        wanted = auc - peer.roc_auc_score(done.val.labels, shipped)
        assert values["val_auc"] == pytest.approx(wanted)
        assert values["val_auc_low"] <= values["val_auc"] <= values["val_auc_high"]
        assert values["auc"] == less.shipped.auc
        assert values["simple_auc_low"] == less.simple.low


def test_labels_of_val_do_not_move_contributions(enter):
    world = enter("one fold")
    before = read_metrics(world)["blocks"]
    table = world.val.table.assign(label=1 - world.val.labels)
    replace_val(world, table)
    assert evaluate.run(load_params(MembersParams))["blocks"] == before


def test_a_second_run_writes_the_same_bytes_and_logs_costs_that_stand_in_no_file(enter, caplog):
    world = enter("one fold")
    before = (world.root / "artifacts/metrics.json").read_bytes()
    for work, seconds in (("train", 90.0), ("dump", 0.5)):
        measured = Measured("m" * 64, seconds, 500, 1000)
        record_seconds(work, "net-b", 0, measured, world.root / ".seconds")
    with caplog.at_level(logging.INFO, "forgerystack"):
        metrics = evaluate.run(load_params(MembersParams))
    assert (world.root / "artifacts/metrics.json").read_bytes() == before
    lines = [m.removeprefix("evaluate: ") for m in caplog.messages]
    (carries,) = [x for x in lines if x.startswith("lightgbm (ships): log-odds moved by backbone:")]
    assert re.search(r"backbone:net-b \d\.\d\d \(\d+ %\)", carries)
    values = metrics["without"]["net-b"]
    text = f"AUC {format_difference(*(values[end] for end in BOUNDS))} out of fold"
    (line,) = [x for x in lines if x.startswith(f"without net-b: {text} (")]
    assert line.endswith("; training it took 3.0 min, 1,000 images take it 1.0 s")
    assert "of the best simple combiner" in line
    (line,) = [x for x in lines if x.startswith("without net_c: ")]
    assert line.endswith("; what it costs is not known")


def test_tables_of_reasons_hold_every_candidate(done):
    place = done.root / "artifacts/plots"
    blocks, columns, gains, left_out = (
        pd.read_csv(place / f"{name}.csv")
        for name in ("shap_blocks", "shap_columns", "gain", "without")
    )
    metrics = read_metrics(done)
    assert list(blocks) == ["block", *CANDIDATES, "stack"]
    assert list(blocks["block"]) == list(metrics["blocks"]["lightgbm"])
    np.testing.assert_array_equal(blocks["stack"], blocks[metrics["val"]["shipped"]])
    assert blocks["rank_mean"].isna().all()
    assert list(columns) == ["column", *CANDIDATES]
    assert list(gains) == ["column", *GATED]
    assert set(gains["column"]) == set(columns["column"])
    assert gains["lightgbm"].sum() == pytest.approx(1)
    assert list(left_out["backbone"]) == list(BACKBONES)
    assert left_out["val_auc"].tolist() == [v["val_auc"] for v in metrics["without"].values()]


# --- plots


def test_plots_hold_every_candidate_on_its_grid(done):
    roc = pd.read_csv(done.root / "artifacts/plots/roc.csv")
    pr = pd.read_csv(done.root / "artifacts/plots/pr.csv")
    assert list(roc) == ["fpr", *CANDIDATES, "stack"]
    assert list(pr) == ["recall", *CANDIDATES, "stack"]
    ensemble, columns = read_val(done)
    scores = ensemble.read_all(columns)["mean"]
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


def test_a_backbone_of_several_folds_is_measured_as_a_whole_and_its_spread_on_train(done):
    found = read_metrics(done)["backbone_figures"]
    _, columns = read_val(done)
    members = (BACKBONES, done.plan.active)
    train = [own for own, _ in read_train_columns(evaluate.DUMPS, done.train, *members)]
    assert list(found) == list(BACKBONES)
    for place, figures in enumerate(found.values()):
        learned = np.concatenate([own.logits[:, place] for own in train])
        assert figures["spread"] == pytest.approx(learned.std())
        assert ("all_folds" in figures) == (len(done.plan.active) > 1)
        if "all_folds" in figures:
            whole = np.mean([c.logits[:, place] for c in columns], axis=0)
            auc, low, high = (figures["all_folds"][end] for end in BOUNDS)
            assert auc == pytest.approx(peer.roc_auc_score(done.val.labels, whole))
            assert low < auc < high


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


def test_without_the_null_model_it_names_the_stage(enter):
    enter("one fold")
    shutil.rmtree(evaluate.NULL_MODEL)
    with pytest.raises(MissingArtifactError, match="dvc repro null_model"):
        evaluate.run(load_params(MembersParams))


@pytest.mark.parametrize("role", ["train", "val"])
def test_a_null_model_of_other_manifests_is_stale(enter, role):
    world = enter("one fold")
    manifests = {"train": world.train, "val": world.val}
    manifests[role] = replace(manifests[role], digest="e" * 64)
    null = NullFindings(np.zeros(len(world.val)), {"told_apart": False, "main_feature": "width"})
    write_null_model(null, manifests["train"], manifests["val"], evaluate.NULL_MODEL)
    with pytest.raises(StaleArtifactError, match=f"{role} manifest eeeeeeee.*repro null_model"):
        evaluate.run(load_params(MembersParams))
