"""Scorers on perturbed val pictures: figures from the files alone, and what is refused."""

import logging
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import roc_auc_score
from synthetic_world import PERTURBED_ROWS, VARIANTS, write_perturbed_val

from features.artifacts.perturbed import Perturbed, read_perturbed, write_perturbed
from features.core.auc import compare_aucs
from features.core.files import read_json, read_sealed, write_sealed
from features.errors import MissingArtifactError, StaleArtifactError
from features.settings.members import MembersParams
from features.settings.sections import load_params
from stage1_cnn.perturb.sample import draw_sample
from stage2_ensemble.columns.columns import read_held_out
from stage2_ensemble.columns.extras import read_extras
from stage2_ensemble.display.closing import list_closing
from stage2_ensemble.evaluate import run as evaluate
from stage2_ensemble.findings.robustness import COLUMNS, SCORERS, build_columns
from stage2_ensemble.fitted.bundle import read_ensemble
from stage2_ensemble.report.model_card import build_head
from stage2_ensemble.report.questions import answer_questions
from stage2_ensemble.results.metrics_file import read_metrics
from stage2_ensemble.sentences.intervals import format_interval
from stage2_ensemble.sentences.log import list_log_lines
from stage2_ensemble.sentences.other_data import describe_robust
from stage2_ensemble.summary import run as summary

TABLE = "artifacts/plots/robustness.csv"


def read_robustness() -> dict:
    return read_json(evaluate.OUT / "metrics.json", "evaluate")["robustness"]


def read_scores(world) -> dict[str, np.ndarray]:
    """Of val as it is, by scorer, on the rows of the sample; read as they are for labels."""
    ensemble = read_ensemble(evaluate.STACKERS)
    members = (ensemble.backbones, ensemble.folds, ensemble.train_digest)
    extras = read_extras(evaluate.FORENSICS, world.val)
    found = ensemble.read_all(read_held_out(evaluate.DUMPS, world.val, *members, extras))
    ids = draw_sample(world.val, PERTURBED_ROWS, 0)
    names = {"stack": ensemble.shipped, "mean": "mean", "best_single": "best_single"}
    return {scorer: found[name][ids] for scorer, name in names.items()}


def test_the_fixed_form(done):
    found = read_robustness()
    assert (found["rows"], found["reals"], found["fakes"]) == (200, 100, 100)
    assert (found["groups"], found["reliable"], found["note"]) == (200, True, "")
    assert [(v["perturbation"], v["strength"]) for v in found["variants"]] == list(VARIANTS)
    for variant in found["variants"]:
        assert tuple(variant["scorers"]) == SCORERS
        for values in variant["scorers"].values():
            assert values["auc_low"] <= values["auc"] <= values["auc_high"]
            if variant["perturbation"] == "clean":
                assert values["change"] is values["change_low"] is values["change_high"] is None
            else:
                assert values["change_low"] <= values["change"] <= values["change_high"]


def test_pictures_as_they_are_have_the_figures_of_val(done):
    plain = read_robustness()["variants"][0]["scorers"]
    ensemble = read_ensemble(evaluate.STACKERS)
    labels = done.val.labels[draw_sample(done.val, PERTURBED_ROWS, 0)]
    for scorer, scores in read_scores(done).items():
        assert plain[scorer]["auc"] == pytest.approx(roc_auc_score(labels, scores))
        name = ensemble.shipped if scorer == "stack" else scorer
        called = scores >= ensemble.rules.find_threshold(name)
        assert plain[scorer]["fpr"] == pytest.approx(called[labels == 0].mean())
        assert plain[scorer]["tpr"] == pytest.approx(called[labels == 1].mean())


def test_a_change_is_paired_with_the_same_rows(done):
    *_, jpeg, noise = read_robustness()["variants"]
    ensemble = read_ensemble(evaluate.STACKERS)
    perturbed = read_perturbed(evaluate.PERTURBED, done.val)
    ids = perturbed.row_ids
    labels, groups = done.val.labels[ids], done.val.groups[ids]
    for place, variant in ((2, jpeg), (3, noise)):
        columns = build_columns(ensemble, perturbed, place, done.val.table.iloc[ids])
        scores = ensemble.rules.read("mean", ensemble.score("mean", columns))
        wanted = compare_aucs(labels, groups, scores, read_scores(done)["mean"])
        values = variant["scorers"]["mean"]
        assert values["change"] == pytest.approx(wanted.auc)
        assert values["change_low"] == pytest.approx(wanted.low)
        assert values["change_high"] == pytest.approx(wanted.high)


def test_members_that_noise_blinds_drop_for_sure_and_a_little_jpeg_costs_little(done):
    *_, jpeg, noise = (v["scorers"] for v in read_robustness()["variants"])
    for scorer in ("mean", "best_single"):
        assert noise[scorer]["change_high"] < -0.2
        assert noise[scorer]["auc_low"] < 0.5 < noise[scorer]["auc_high"]
        assert -0.1 < jpeg[scorer]["change"] < 0


def test_robust_auc_is_the_mean_over_tiers_and_narrower_than_their_worst(done):
    found = read_robustness()
    assert found["tiers"] == ["clean", "web"]
    for scorer, values in found["robust"].items():
        clean, web = (v["scorers"][scorer] for v in found["variants"][:2])
        assert values["auc"] == pytest.approx((clean["auc"] + web["auc"]) / 2)
        assert values["auc_low"] < values["auc"] < values["auc_high"]
        # Both tiers are of the same rows: their errors do not average out as those of two samples.
        width = values["auc_high"] - values["auc_low"]
        assert width > (clean["auc_high"] - clean["auc_low"]) / np.sqrt(2)
        assert (values["worst"], values["worst_auc"]) == ("web", web["auc"])
        assert values["worst_auc_low"] == web["auc_low"]


def test_backbones_stand_beside_each_other_in_every_tier(done, capsys):
    found = read_robustness()
    ensemble = read_ensemble(evaluate.STACKERS)
    perturbed = read_perturbed(evaluate.PERTURBED, done.val)
    ids = perturbed.row_ids
    assert tuple(found["backbones"]) == ensemble.backbones
    for place, name in enumerate(ensemble.backbones):
        values = found["backbones"][name]
        aucs = []
        for variant, tier in enumerate(found["tiers"]):
            columns = build_columns(ensemble, perturbed, variant, done.val.table.iloc[ids])
            log_odds = np.mean([c.logits[:, place] for c in columns], axis=0)
            aucs.append(roc_auc_score(done.val.labels[ids], log_odds))
            assert values["tiers"][tier]["auc"] == pytest.approx(aucs[-1])
        assert values["auc"] == pytest.approx(np.mean(aucs))
        assert values["worst_auc"] == pytest.approx(min(aucs))
    summary.run()
    shown = capsys.readouterr().out
    assert "backbones by tier: 100 real and 100 fake val rows" in shown
    assert f"{found['backbones'][ensemble.backbones[0]]['auc']:.3f}" in shown


def test_robust_auc_stands_beside_auc_wherever_figures_are_read(done, capsys, caplog):
    metrics = read_metrics(evaluate.OUT / "metrics.json")
    text = describe_robust(metrics["robustness"])
    assert text.startswith(format_interval(metrics["robustness"]["robust"]["stack"]))
    closing = dict(list_closing(metrics, None, evaluate.OUT / "labels.csv"))
    assert closing["robust"].startswith(f"AUC {text.partition(',')[0]}")
    assert any(text in line for line in list_log_lines(metrics, {}))
    assert text in " ".join(answer_questions(metrics, (), "mean")[0].reasons)
    head = yaml.safe_load(build_head(metrics, ["net"], "name", "data").strip())
    results = head["model-index"][0]["results"]
    robust = [r for r in results if r["dataset"].get("config") == "mean over clean, web"]
    value = metrics["robustness"]["robust"]["stack"]["auc"]
    assert robust[0]["metrics"][0]["value"] == pytest.approx(value, abs=1e-6)
    summary.run()
    assert "robust (mean)" in capsys.readouterr().out


def test_the_table_is_long_and_holds_the_same(done):
    table, found = pd.read_csv(TABLE), read_robustness()
    assert tuple(table.columns) == COLUMNS
    assert len(table) == len(VARIANTS) * len(SCORERS)
    assert (table["rows"] == 200).all()
    for variant in found["variants"]:
        for scorer, values in variant["scorers"].items():
            rows = table[table["perturbation"] == variant["perturbation"]]
            (line,) = rows[rows["scorer"] == scorer].to_dict("records")
            for name, value in values.items():
                assert (
                    line[name] == pytest.approx(value) if value is not None else pd.isna(line[name])
                )
    assert "jpeg 75, stack" in set(table["title"])


def test_the_log_names_what_hurts_and_what_holds(enter, caplog):
    enter("one fold")
    with caplog.at_level(logging.INFO, "forgerystack"):
        evaluate.run(load_params(MembersParams))
    (first,) = [m for m in caplog.messages if "robustness, on 100 reals and 100 fakes" in m]
    assert "of what ships with pictures as they are, FPR 0." in first
    start = "evaluate: what ships under "
    under = [m.removeprefix(start) for m in caplog.messages if m.startswith(start)]
    assert [m.partition(":")[0] for m in under] == ["noise 8", "web", "jpeg 75"]
    (best,) = [m for m in caplog.messages if m.startswith("evaluate: lowest AUC ")]
    assert "(noise 8)" in best
    assert best.endswith(": stack holds best")  # its embeddings still tell


def test_the_summary_has_the_table(done, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    summary.run()
    text = capsys.readouterr().out
    assert "perturbed pictures: 100 real and 100 fake val rows" in text
    assert max(map(len, text.splitlines())) <= 80
    for name in ("clean", "jpeg 75", "noise 8"):
        assert name in text
    values = read_robustness()["variants"][3]["scorers"]["stack"]
    assert format_interval(values) in text


def test_where_nothing_was_perturbed_that_is_said(enter, caplog, capsys):
    world = enter("one fold")
    empty = Perturbed(np.empty(0, np.int64), note="perturb.rows is 0")
    shutil.rmtree(evaluate.PERTURBED)
    write_perturbed(empty, world.val, evaluate.PERTURBED)
    with caplog.at_level(logging.INFO, "forgerystack"):
        evaluate.run(load_params(MembersParams))
    found = read_robustness()
    assert (found["rows"], found["variants"], found["note"]) == (0, [], "perturb.rows is 0")
    assert "robustness: nothing is measured: perturb.rows is 0" in caplog.text
    assert len(pd.read_csv(TABLE)) == 0
    summary.run()
    assert "perturbed pictures: perturb.rows is 0" in capsys.readouterr().out


# --- what is missing or stale


def test_without_perturbed_scores_it_names_the_stage(enter):
    enter("one fold")
    shutil.rmtree(evaluate.PERTURBED)
    with pytest.raises(MissingArtifactError, match="dvc repro perturb"):
        evaluate.run(load_params(MembersParams))


def test_scores_of_other_members_are_stale(enter):
    world = enter("one fold")
    write_perturbed_val(world, digest="d" * 64)
    with pytest.raises(StaleArtifactError, match=r"dddddddd.*dvc repro perturb"):
        evaluate.run(load_params(MembersParams))


def test_scores_of_another_val_or_of_other_features_are_stale(enter):
    enter("one fold")
    path = evaluate.PERTURBED / "perturbed.json"
    facts = read_sealed(path, "perturb")
    for change in ({"manifest": "e" * 64}, {"names": ["noise:level", "dct:other"]}):
        write_sealed(path, facts | change)
        with pytest.raises(StaleArtifactError, match="dvc repro perturb"):
            evaluate.run(load_params(MembersParams))
