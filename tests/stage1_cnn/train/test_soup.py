"""Members whose weights are the average of several trainings from one start."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from frozen_task import make_frozen_project, save_weights
from small_task import keep_pixels, make_settings
from small_trainings import ALONE, equal

from features.errors import Stopped
from features.runtime.interruption import Interruption
from features.settings.learning import Schedule
from features.settings.sections import load_params
from features.settings.training import TrainParams, Weights
from stage1_cnn.networks.member import load_network, read_member
from stage1_cnn.networks.network import build_network
from stage1_cnn.runtime.runs import RunLimits
from stage1_cnn.runtime.session import Sessions
from stage1_cnn.sampling.loader import BatchLoader
from stage1_cnn.sampling.training_task import TrainingTask
from stage1_cnn.train.loop import train_network
from stage1_cnn.train.run import run
from stage1_cnn.train.soup import derive_soup_seed, train_member
from stage1_cnn.train.trainer import Trainer

SCHEDULE = Schedule(epochs=1, warmup_epochs=0.5, batch_size=16, soup=3)
LAYER_NORM, BATCH_NORM = "test_convnext", "test_resnet"


@pytest.fixture(scope="module")
def starts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("starts")
    for model in (LAYER_NORM, BATCH_NORM):
        save_weights(folder / f"{model}.safetensors", model)
    return folder


def prepare(starts, model=BATCH_NORM, **changes):
    start = {"pretrained": f"{model}.safetensors", "weights": Weights(root=str(starts))}
    return make_settings(**{"model": model, "schedule": SCHEDULE, **start, **changes})


def cook(task, settings, folder=None, interruption=None):
    manifest, store = task
    sessions = Sessions(ALONE, interruption or Interruption(), folder, save_minutes=0)
    learned = TrainingTask(settings, store, manifest, manifest.rows_to_learn(0), 5)
    return train_member(learned, sessions)


@pytest.fixture(scope="module")
def soup(task, starts):
    return cook(task, prepare(starts))


def test_it_is_the_mean_of_trainings_that_differ_by_their_draws_alone(task, starts):
    manifest, store = task
    settings = prepare(starts, LAYER_NORM)
    plain = settings.model_copy(update={"schedule": SCHEDULE.model_copy(update={"soup": 1})})
    first = TrainingTask(plain, store, manifest, manifest.rows_to_learn(0), 5)
    seeds = [derive_soup_seed(5, number) for number in range(3)]
    single = [train_network(replace(first, seed=seed), ALONE, start=5) for seed in seeds]
    found = cook(task, settings)
    for kind in ("last_state", "ema_state"):
        states = [getattr(trained, kind) for trained in single]
        for name, value in getattr(found, kind).items():
            mean = torch.stack([state[name] for state in states]).mean(0)
            torch.testing.assert_close(value, mean, atol=1e-6, rtol=1e-5)
    assert equal(cook(task, plain).state, single[0].state)
    assert not equal(single[1].state, single[0].state)
    assert [row["training"] for row in found.history] == [1, 2, 3]
    assert [row["epoch"] for row in found.history] == [1, 2, 3]
    assert found.history[1]["loss"] == single[1].history[0]["loss"]
    assert found.total == 3 * single[0].total


def test_all_trainings_begin_at_the_same_head(task, starts, monkeypatch):
    """What was not pretrained is drawn once: heads that were drawn apart have no mean."""
    seen = []
    build = Trainer._build_network

    def note(trainer):
        network = build(trainer)
        seen.append({name: value.clone() for name, value in network.state_dict().items()})
        return network

    monkeypatch.setattr(Trainer, "_build_network", note)
    cook(task, prepare(starts, LAYER_NORM))
    assert len(seen) == 3
    assert equal(seen[0], seen[1])
    assert equal(seen[0], seen[2])


def test_batch_norm_is_measured_anew_under_the_averaged_weights(task, starts, soup):
    """Without it the statistics would be those of no network."""
    manifest, store = task
    settings = prepare(starts)
    network = build_network(settings, load=False).eval()
    network.load_state_dict(soup.last_state)
    first = next(m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d))
    seen = []
    first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    rows = manifest.rows_to_learn(0)
    loader = BatchLoader(TrainingTask(settings, store, manifest, rows, 5), ALONE)
    trainer = Trainer(loader)
    with torch.inference_mode():
        for batch in loader.iterate(0, len(loader)):
            network(trainer.prepare(batch)[0])
            trainer.step += 1
    means = torch.stack([batch.mean((0, 2, 3)) for batch in seen]).mean(0)
    torch.testing.assert_close(first.running_mean, means, atol=1e-4, rtol=1e-4)


def test_nothing_of_the_fold_left_out_is_seen(task, starts, soup, tmp_path):
    manifest, store = task
    pixels = store.gather(np.arange(len(manifest)))
    pixels[manifest.fold_rows(0)] = 255 - pixels[manifest.fold_rows(0)]
    found = cook((manifest, keep_pixels(tmp_path / "other.bin", pixels)), prepare(starts))
    assert equal(found.last_state, soup.last_state)
    assert equal(found.ema_state, soup.ema_state)


class StopAfter(Interruption):
    """Has a reason to stop once it was asked so often."""

    def __init__(self, times):
        super().__init__()
        self.left = times

    def find_reason(self, needed=0.0):
        self.left -= 1
        return "enough" if self.left < 0 else None


@pytest.mark.fault("SIGTERM, Ctrl-C, out of time")
def test_cut_off_in_any_training_it_goes_on_to_the_same_bytes(task, starts, soup, tmp_path):
    """7 steps each, and twice 7 batches by which batch norm is measured anew."""
    settings = prepare(starts)
    for steps, left in ((3, {"training-0"}), (8, {"soup", "training-1"}), (20, {"soup"})):
        with pytest.raises(Stopped):
            cook(task, settings, tmp_path, StopAfter(steps))
        assert {path.name for path in tmp_path.iterdir()} == left
    found = cook(task, settings, tmp_path)
    assert equal(found.last_state, soup.last_state)
    assert equal(found.ema_state, soup.ema_state)
    assert found.history == soup.history
    assert found.total == soup.total
    assert found.images == 0


def test_a_member_of_several_trainings_is_an_ordinary_one(tmp_path, monkeypatch):
    make_frozen_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    entry = "{model: test_resnet, pretrained: resnet.safetensors, image_size: 32}"
    overrides = [f"backbones.net={entry}", "schedule={epochs: 1, soup: 2}", "loss={}", "augment={}"]
    params = load_params(TrainParams, overrides)
    run(params, "net", 0, Path("member"), RunLimits(Path("resume")))
    history = pd.read_csv("member/history.csv")
    assert history["training"].tolist() == [1, 2]
    assert history["epoch"].tolist() == [1, 2]
    member = read_member(Path("member"), "net", 0)
    assert member.judged["raw"]["auc"] is not None
    network = load_network(Path("member"), member)
    assert member.parameters == sum(p.numel() for p in network.parameters())
    assert not list(Path("resume").glob("train-*"))
