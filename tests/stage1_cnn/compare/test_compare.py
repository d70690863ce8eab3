"""The command: where it reads and writes, how it stops, and one comparison of real trainings."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from compared_runs import SETTINGS, make_unseen
from frozen_task import count_pictures, make_frozen_project

from features.core.manifest import write_manifest
from features.errors import Stopped, TrainingError
from stage1_cnn.compare import run as compare
from stage1_cnn.compare.__main__ import main
from stage1_cnn.scoring import rows
from stage1_cnn.scoring.engines import TorchEngine

FILES = {"compare.csv", "compare.md", "compare.png", "runs"}


@pytest.fixture
def project(task, tmp_path, monkeypatch):
    """A folder with the train manifest alone, the image store of `task`, and params.yaml."""
    manifest, store = task
    monkeypatch.chdir(tmp_path)
    write_manifest(manifest.table, "train", tmp_path / "artifacts/manifest/train.parquet")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(SETTINGS))
    monkeypatch.setattr(compare.MemberStores, "open", lambda *_: store)
    return tmp_path


@pytest.fixture
def calls(monkeypatch):
    """The task of each training, which is made up."""
    made = []

    def train_member(task, sessions):
        made.append(task)

    def judge_unseen(trained, task, rows, processes):
        auc = 0.8 + 0.01 * (task.settings.optimizer.lr < 1e-3) + 0.002 * len(made)
        return {"raw": make_unseen(auc, len(rows)), "ema": make_unseen(auc + 0.01, len(rows))}

    monkeypatch.setattr(compare, "train_member", train_member)
    monkeypatch.setattr(compare, "judge_unseen", judge_unseen)
    return made


def test_tables_and_figure_without_a_val_manifest(project, calls, capsys):
    main()
    out = project / "artifacts" / "compare"
    assert {path.name for path in out.iterdir()} == FILES
    assert len(calls) == len(list((out / "runs").glob("*.json"))) == 8
    assert len(pd.read_csv(out / "compare.csv")) == 8  # 2 sizes x 2 variants x 2 weights
    assert "40 rows: slow + EMA against natural" in " ".join(capsys.readouterr().out.split())


def test_variants_of_a_seed_differ_in_their_settings_alone(project, calls):
    main(project / "out", overrides=["compare.rows=[40]"])
    seeds = [task.seed for task in calls]
    assert seeds[0] == seeds[1] != seeds[2] == seeds[3]
    assert len({task.rows.row_ids.tobytes() for task in calls}) == 1
    assert [task.settings.optimizer.lr for task in calls] == [3e-3, 1e-4] * 2


def test_out_of_time_it_stops_shows_what_there_is_and_goes_on(project, calls, monkeypatch):
    out = project / "out"
    monkeypatch.setattr(compare.Clock, "allows", lambda *_: len(calls) < 3)
    with pytest.raises(Stopped, match="5 runs left"):
        main(out, max_minutes=1)
    assert {path.name for path in out.iterdir()} == FILES
    assert all(json.loads(path.read_text()) for path in (out / "runs").glob("*.json"))
    assert pd.read_csv(out / "compare.csv")["seeds"].tolist() == [1] * 6
    monkeypatch.undo()
    monkeypatch.chdir(project)
    with pytest.raises(Stopped):
        main(out, max_minutes=0)
    assert len(list((out / "runs").glob("*.json"))) == 3


def test_without_any_run_there_is_no_table(project, calls):
    with pytest.raises(Stopped, match="8 runs left: 40-natural-0"):
        main(project / "out", max_minutes=0)
    assert not (project / "out").exists()


def test_interrupted_it_stops_and_keeps_what_was_finished(project, calls, monkeypatch):
    def interrupt(trained, task, rows, processes):
        if len(calls) == 3:
            raise Stopped("here")
        return {"raw": make_unseen(0.8, len(rows))}

    monkeypatch.setattr(compare, "judge_unseen", interrupt)
    with pytest.raises(Stopped, match="6 runs left"):
        main(project / "out")
    assert len(list((project / "out" / "runs").glob("*.json"))) == 2


@pytest.mark.fault(
    "a run of a comparison that diverges",
    "the others are made; tables say what they lack, then an error that lists it",
    "Numbers and memory",
)
def test_a_variant_that_diverges_is_told_and_all_others_are_compared(project, capsys):
    rates = {"natural": {}, "wild": {"optimizer": {"name": "sgd", "lr": 1e20}}}
    variants = f"compare.variants={json.dumps(rates)}"
    small = ["compare.rows=[40]", "backbones.resnet.schedule.epochs=6", "ema.decay=null", variants]
    with pytest.raises(TrainingError, match="2 of 4 runs: 2 problems") as caught:
        main(project / "out", overrides=small)
    assert [text.partition(":")[0] for text in caught.value.problems] == ["40-wild-0", "40-wild-1"]
    table = pd.read_csv(project / "out" / "compare.csv").set_index("entry")
    assert table[["seeds", "diverged"]].to_numpy().tolist() == [[2, 0], [0, 2]]
    assert table["auc"].isna().tolist() == [False, True]
    shown = " ".join(capsys.readouterr().out.split())
    assert "40 wild 0 of 2 - - -" in shown
    assert "40 rows: wild diverged with every seed (2)" in shown
    with pytest.raises(Stopped, match="2 runs left"):
        main(project / "out", max_minutes=0, overrides=small)
    assert "Seeds that diverged are left out" in (project / "out" / "compare.md").read_text()


def test_a_run_with_a_score_that_is_no_number_is_left_out(project, monkeypatch):
    def judge_unseen(trained, task, rows, processes):
        scores = make_unseen(0.8, len(rows))
        if task.settings.optimizer.lr < 1e-3:
            scores.log_odds[7] = np.nan
        return {"raw": make_unseen(0.7, len(rows)), "ema": scores}

    monkeypatch.setattr(compare, "train_member", lambda *_: None)
    monkeypatch.setattr(compare, "judge_unseen", judge_unseen)
    with pytest.raises(TrainingError, match=r"log-odds by the ema weights: .* rows 7 \(1 rows\)"):
        main(project / "out", overrides=["compare.rows=[40]"])
    table = pd.read_csv(project / "out" / "compare.csv").set_index("entry")
    assert table["seeds"].to_dict() == {"natural": 2, "natural + EMA": 2, "slow": 0}


def test_real_networks_are_compared_and_not_trained_twice(project, monkeypatch):
    overrides = ["compare.rows=[null]", "backbones.resnet.schedule.epochs=2"]
    main(project / "out", overrides=overrides)
    table = pd.read_csv(project / "out" / "compare.csv").set_index("entry")
    assert list(table.index) == ["natural", "natural + EMA", "slow", "slow + EMA"]
    assert table.loc["natural", "auc"] > table.loc["slow", "auc"]
    assert table.loc["slow", "delta_auc_rows_low"] < table.loc["slow", "delta_auc"] < 0
    before = (project / "out" / "compare.csv").read_bytes()
    monkeypatch.delattr(compare, "train_member")
    main(project / "out", overrides=overrides)
    assert (project / "out" / "compare.csv").read_bytes() == before


def test_heads_of_a_frozen_encoder_are_compared(tmp_path, monkeypatch):
    make_frozen_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    variants = {"natural": {"sampling": {"mode": "natural"}}, "balanced": {}, "inner": {"layer": 1}}
    main(Path("out"), overrides=["compare.seeds=1", f"compare.variants={json.dumps(variants)}"])
    table = pd.read_csv("out/compare.csv").set_index("entry")
    assert list(table.index) == list(variants)  # a head has no average
    assert table["log_loss"].nunique() == len(variants)
    assert table.loc["inner", ["delta_auc_rows_low", "delta_auc_rows_high"]].notna().all()
    notes = Path("out/compare.md").read_text()
    assert "inner folds by which the head's prior is chosen" in notes
    assert "not pretrained" not in notes


def test_a_signal_in_a_later_run_loses_no_embedding(tmp_path, monkeypatch):
    make_frozen_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rows, "CPU_BATCH", 16)
    variants = {"plain": {"sampling": {"mode": "natural"}}, "small": {"image_size": 24}}
    asked = ["compare.seeds=1", f"compare.variants={json.dumps(variants)}"]
    seen = count_pictures(monkeypatch)
    score = TorchEngine.__call__

    def score_and_signal(engine, pixels):
        if engine.side == 24 and seen[-1] == len(pixels) == 16:
            os.kill(os.getpid(), signal.SIGTERM)
        return score(engine, pixels)

    with monkeypatch.context() as patch:
        patch.setattr(TorchEngine, "__call__", score_and_signal)
        with pytest.raises(Stopped, match="1 runs left: all-small-0"):
            main(Path("out"), overrides=asked)
    seen.clear()
    main(Path("out"), overrides=asked)
    assert 0 < sum(seen) < 90


def test_heads_and_pairs_are_variants(project, task):
    table = task[0].table
    grouped = table.assign(group=table.index // 5)
    write_manifest(grouped, "train", project / "artifacts/manifest/train.parquet")
    variants = {
        "linear": {"sampling": {"pairs": False}},
        "pairs": {"sampling": {"pairs": True}},
        "sphere": {"network": {"head": "cosine"}, "loss": {"alignment": 0.1, "uniformity": 0.5}},
    }
    small = ["compare.rows=[null]", "compare.seeds=1", "backbones.resnet.schedule.epochs=1"]
    main(project / "out", overrides=[*small, f"compare.variants={json.dumps(variants)}"])
    auc = pd.read_csv(project / "out" / "compare.csv").set_index("entry")["auc"]
    assert len({auc["linear"], auc["pairs"], auc["sphere"]}) == 3
