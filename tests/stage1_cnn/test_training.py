import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from small_task import make_settings

from features.errors import NotFiniteError
from features.manifest import LearnRows
from features.train_params import Ema, Optimizer, Schedule
from stage1_cnn.batches import Normaliser
from stage1_cnn.dump import score_rows
from stage1_cnn.network import build_network
from stage1_cnn.training import compute_decay, train_network

CPU = torch.device("cpu")


def train(task, seed=0, fold=0, labels=None, weights=None, **changes):
    manifest, store = task
    labels = manifest.labels if labels is None else labels
    weights = manifest.weights if weights is None else weights
    rows = manifest.rows_to_learn(fold)
    return train_network(make_settings(**changes), store, rows, labels, weights, seed, CPU)


def score(task, trained, rows, **changes):
    network = build_network(make_settings(**changes))
    network.load_state_dict(trained.state)
    normalise = Normaliser((0.5,) * 3, (0.25,) * 3, 32, CPU)
    logits, _ = score_rows(network.eval(), normalise, task[1], rows)
    return logits


@pytest.fixture(scope="module")
def trained(task):
    return train(task)


def test_ema_weights_tell_the_classes_apart_on_the_fold_left_out(task, trained):
    manifest, _ = task
    rows = manifest.fold_rows(0)
    assert roc_auc_score(manifest.labels[rows], score(task, trained, rows)) > 0.9


def test_same_seed_gives_the_same_bytes_and_another_seed_does_not(task, trained):
    again = train(task)
    assert all(torch.equal(again.state[name], value) for name, value in trained.state.items())
    assert again.history == trained.history
    other = train(task, seed=1)
    assert any(not torch.equal(other.state[name], v) for name, v in trained.state.items())


def test_labels_of_the_fold_left_out_change_nothing(task, trained):
    manifest, _ = task
    labels = manifest.labels.copy()
    labels[manifest.fold_rows(0)] = 1 - labels[manifest.fold_rows(0)]
    again = train(task, labels=labels)
    assert all(torch.equal(again.state[name], value) for name, value in trained.state.items())


def test_history_has_a_row_an_epoch_with_warm_up_and_a_cosine_to_zero(task):
    history = train(task, schedule=Schedule(epochs=6, warmup_epochs=2, batch_size=16)).history
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5, 6]
    rates = [row["lr"] for row in history]
    assert rates[0] < rates[1] > rates[2] > rates[3] > rates[4] > rates[5]
    assert rates[1] == pytest.approx(3e-3, rel=0.2)
    assert rates[5] < 0.03 * 3e-3
    assert history[-1]["loss"] < history[0]["loss"]


def test_row_weights_count_in_the_loss(task):
    manifest, _ = task
    wrong = np.random.default_rng(0).random(len(manifest)) < 0.4
    labels = np.where(wrong, 1 - manifest.labels, manifest.labels)
    rows = manifest.fold_rows(0)
    aucs = []
    for weight in (1.0, 1e-3):
        weights = np.where(wrong, weight, 1.0)
        trained = train(task, labels=labels, weights=weights)
        aucs.append(roc_auc_score(manifest.labels[rows], score(task, trained, rows)))
    assert aucs[1] > aucs[0] + 0.05


@pytest.mark.parametrize(("half_life", "steps"), [(0.5, 100), (2.0, 37)])
def test_decay_halves_after_its_half_life(half_life, steps):
    decay = compute_decay(Ema(half_life_epochs=half_life), steps)
    assert decay ** (half_life * steps) == pytest.approx(0.5)


def test_a_loss_that_is_no_number_stops_and_names_rows(task):
    with pytest.raises(NotFiniteError, match=r"loss at step \d+: .* rows \d+"):
        train(task, optimizer=Optimizer(name="sgd", lr=1e20))


def test_fewer_rows_than_a_batch_train_too(task):
    manifest, store = task
    rows = LearnRows(0, np.arange(10), manifest.digest)
    settings = make_settings()
    trained = train_network(settings, store, rows, manifest.labels, manifest.weights, 0, CPU)
    assert len(trained.history) == 4
