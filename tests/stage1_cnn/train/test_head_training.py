"""Trainings with a cosine head, losses on embeddings and pairs: they learn, and they go on."""

import numpy as np
import pytest
import torch
from small_task import make_settings
from small_trainings import ALONE, advance, change_table, equal, start

from features.errors import ConfigError
from features.settings.learning import Augment, Ema, Loss, Network, Optimizer, Sampling, Schedule
from stage1_cnn.networks.network import embed
from stage1_cnn.sampling.training_task import TrainingTask
from stage1_cnn.train.correction import compute_correction
from stage1_cnn.train.fold_metrics import judge_unseen
from stage1_cnn.train.loop import train_network

SPHERE = {
    "network": Network(head="cosine"),
    "loss": Loss(alignment=0.1, uniformity=0.5),
    "sampling": Sampling(pairs=True),
}


@pytest.fixture(scope="module")
def grouped(task):
    """The small task, each real with its four fakes in a group."""
    manifest, store = task
    return change_table(manifest, group=np.arange(len(manifest)) // 5), store


def test_it_tells_the_classes_apart_and_how_many_draws_were_paired(grouped):
    manifest, store = grouped
    settings = make_settings(**SPHERE)
    rows = manifest.rows_to_learn(0)
    task = TrainingTask(settings, store, manifest, rows, 0)
    trained = train_network(task, ALONE)
    judged = judge_unseen(trained, task, manifest.fold_rows(0), ALONE)
    assert judged["ema"].figures["auc"] > 0.9
    assert [row["paired_share"] for row in trained.history] == [1.0] * 8


def test_cut_off_it_goes_on_to_the_same_bytes(grouped):
    changes = SPHERE | {"ema": Ema(decay=0.9), "augment": Augment(mixup=0.5, cutmix=0.5)}
    through, loader = start(grouped, **changes)
    advance(through, loader, 0, 6)
    first, loader = start(grouped, **changes)
    advance(first, loader, 0, 3)
    again, loader = start(grouped, **changes)
    advance(again, loader, 8, 10)
    again.load_state_dict(first.state_dict())
    advance(again, loader, 3, 6)
    assert equal(again.network.state_dict(), through.network.state_dict())
    assert equal(again.ema.module.state_dict(), through.ema.module.state_dict())


def test_embeddings_of_a_class_come_together_or_spread(grouped):
    """The mean cosine within a class, after the same steps under each loss."""

    def measure_closeness(loss):
        trainer, loader = start(grouped, loss=loss, network=SPHERE["network"])
        advance(trainer, loader, 0, 30)
        batch, network = loader.load(30), trainer.network.eval()
        with torch.inference_mode():
            embeddings, _ = embed(network, trainer.normalise(batch.pixels))
        directions = torch.nn.functional.normalize(embeddings, dim=1).numpy()
        alike = batch.labels[:, None] == batch.labels
        return float((directions @ directions.T)[alike].mean())

    plain = measure_closeness(Loss())
    assert measure_closeness(Loss(uniformity=1.0)) < plain < measure_closeness(Loss(alignment=1.0))


def test_a_part_of_a_batch_counts_for_its_share(grouped):
    """In two parts the loss of the logits is that of the whole; embeddings meet within parts."""
    schedule = Schedule(epochs=2, batch_size=16, accumulate=2)
    trainer, loader = start(grouped, **SPHERE | {"schedule": schedule})
    (loss,) = advance(trainer, loader, 0, 1)
    whole, loader = start(grouped, **SPHERE | {"schedule": Schedule(epochs=2, batch_size=16)})
    (wanted,) = advance(whole, loader, 0, 1)
    assert loss == pytest.approx(wanted, abs=0.1)
    assert loss != wanted


def test_too_few_rows_to_meet_are_refused(grouped):
    schedule = Schedule(epochs=2, batch_size=16, accumulate=9)
    with pytest.raises(ConfigError, match="want two rows each"):
        start(grouped, **SPHERE | {"schedule": schedule})


def test_what_embeddings_are_held_to_leaves_the_correction_approximate(grouped):
    trainer, loader = start(grouped, **SPHERE)
    weights = np.ones(len(loader.candidates.labels))
    plain = make_settings(sampling=Sampling(pairs=True), network=Network(head="cosine"))
    exact = compute_correction(plain, loader.candidates, weights)
    found = compute_correction(trainer.settings, loader.candidates, weights)
    assert (found.shift, found.approximate) == (exact.shift, True)
    assert not exact.approximate


def test_the_head_alone_learns_as_long_as_the_rest_is_frozen(grouped):
    changes = SPHERE | {"optimizer": Optimizer(lr=3e-3, frozen_epochs=1)}
    trainer, loader = start(grouped, **changes)
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    advance(trainer, loader, 0, 2)
    after = trainer.network.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(after[name], value)}
    assert changed == {"head.fc.weight", "head.fc.bias", "head.fc.log_scale"}
