"""A score that is no number costs figures to look at, and never what was trained."""

from pathlib import Path

import numpy as np
import pytest
import torch
from frozen_task import fit_member_of, make_frozen_project
from small_task import make_settings
from small_trainings import ALONE, equal

from features.errors import NotFiniteError
from features.settings.learning import Schedule
from features.settings.sections import load_params
from features.settings.training import TrainParams
from stage1_cnn.networks.member import load_network, read_member
from stage1_cnn.runtime.runs import RunLimits
from stage1_cnn.sampling.training_task import TrainingTask
from stage1_cnn.scoring import engines
from stage1_cnn.train import fold_metrics
from stage1_cnn.train.fold_metrics import judge_unseen
from stage1_cnn.train.loop import train_network
from stage1_cnn.train.run import run

TRAINED = "backbones.net={model: test_convnext, image_size: 32, schedule: {epochs: 1}}"
PLAIN = ("loss.kind=cross_entropy", "augment.self_blend=0", "network.dropout=0")


@pytest.fixture
def learned(task):
    manifest, store = task
    settings = make_settings(schedule=Schedule(epochs=1, batch_size=16))
    return TrainingTask(settings, store, manifest, manifest.rows_to_learn(0), 0)


@pytest.fixture
def trained(learned):
    return train_network(learned, ALONE)


@pytest.fixture
def overflows(monkeypatch):
    """The first picture of each batch has no score, as where float16 overflows."""
    embed = engines.embed

    def embed_most(*given):
        embeddings, log_odds = embed(*given)
        log_odds[0] = torch.nan
        return embeddings, log_odds

    monkeypatch.setattr(engines, "embed", embed_most)


def judge(trained, learned):
    return judge_unseen(trained, learned, learned.train.fold_rows(0), ALONE)


def spoil(state):
    return {name: value * torch.nan for name, value in state.items()}


@pytest.mark.fault(
    "a score of the fold left out that is no number",
    "warning that names rows, and no figures there; error where the weights kept say no number",
    "Numbers and memory",
)
def test_one_score_that_is_no_number_leaves_no_figure_and_names_its_row(
    trained, learned, overflows, caplog
):
    judged = judge(trained, learned)
    assert set(judged["ema"].figures.values()) == {None}
    assert np.isfinite(judged["ema"].log_odds).sum() == 40 - 2  # two batches
    first = learned.train.fold_rows(0)[0]
    for name in ("raw", "ema"):
        assert f"{name} weights: not judged" in caplog.text
    assert f"rows {first}, {first + 32} (2 rows)" in caplog.text


def test_last_weights_that_say_no_number_cost_no_good_average(trained, learned):
    wanted = judge(trained, learned)["ema"]
    trained.last_state = spoil(trained.last_state)
    judged = judge(trained, learned)
    assert set(judged["raw"].figures.values()) == {None}
    assert judged["ema"].figures == wanted.figures
    assert None not in wanted.figures.values()


@pytest.mark.fault("a score of the fold left out that is no number")
def test_weights_that_say_no_number_at_all_are_not_kept(trained, learned):
    trained.ema_state = spoil(trained.ema_state)
    with pytest.raises(NotFiniteError, match=r"fold left out, by the ema weights: .*\(40 rows\)"):
        judge(trained, learned)


def test_a_training_is_kept_though_one_picture_of_the_fold_has_no_score(
    tmp_path, monkeypatch, overflows
):
    make_frozen_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    params = load_params(TrainParams, [TRAINED, *PLAIN])
    run(params, "net", 0, Path("member"), RunLimits(Path("resume")))
    member = read_member(Path("member"), "net", 0)
    assert set(member.judged["raw"].values()) == {None}
    load_network(Path("member"), member)


def test_a_head_is_kept_though_one_picture_of_the_fold_has_no_score(tmp_path, monkeypatch, caplog):
    make_frozen_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    wanted = load_state(fit_member_of(out=Path("wanted")))
    measure = fold_metrics.measure_figures

    def lose_one(labels, log_odds, groups):
        log_odds[3] = np.inf
        return measure(labels, log_odds, groups)

    monkeypatch.setattr(fold_metrics, "measure_figures", lose_one)
    found = load_state(fit_member_of(out=Path("found")))
    assert equal(found, wanted)
    assert "fold left out: not judged" in caplog.text
    assert set(read_member(Path("found"), "net", 0).judged["raw"].values()) == {None}


def load_state(folder):
    return load_network(folder, read_member(folder, "net", 0)).state_dict()
