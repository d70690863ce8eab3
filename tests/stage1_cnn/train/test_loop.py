import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from small_task import make_settings
from small_trainings import ALONE, CPU, advance, change_table, equal, start

from features.core.manifest import LearnRows
from features.errors import ConfigError, DeviceMemoryError, NotFiniteError
from features.runtime.interruption import Interruption
from features.settings.learning import Augment, Ema, Loss, Network, Optimizer, Sampling, Schedule
from features.settings.training import Weights
from stage1_cnn.losses.cross_entropy import CrossEntropy
from stage1_cnn.networks.network import build_network, embed
from stage1_cnn.runtime.checkpoints import Checkpoints
from stage1_cnn.runtime.session import Session
from stage1_cnn.sampling.loader import BatchLoader, choose_rows
from stage1_cnn.sampling.training_task import TrainingTask
from stage1_cnn.scoring.engines import build_torch_engine
from stage1_cnn.scoring.processes import Processes
from stage1_cnn.scoring.rows import score_rows
from stage1_cnn.train.fold_metrics import judge_unseen
from stage1_cnn.train.loop import train_network
from stage1_cnn.train.run import describe_training
from stage1_cnn.train.trainer import Trainer


def train(task, seed=0, fold=0, columns=None, **changes):
    manifest, store = task
    rows = manifest.rows_to_learn(fold)
    manifest = change_table(manifest, **(columns or {}))
    learned = TrainingTask(make_settings(**changes), store, manifest, rows, seed)
    return train_network(learned, ALONE)


def score(task, state, rows, **changes):
    settings = make_settings(**changes)
    network = build_network(settings)
    network.load_state_dict(state)
    engine = build_torch_engine(network, settings, CPU)
    return score_rows(engine, task[1], rows, ALONE).logits


@pytest.fixture(scope="module")
def trained(task):
    return train(task)


def test_averaged_weights_tell_the_classes_apart_on_the_fold_left_out(task, trained):
    manifest, _ = task
    rows = manifest.fold_rows(0)
    assert roc_auc_score(manifest.labels[rows], score(task, trained.state, rows)) > 0.9


def test_same_seed_gives_the_same_bytes_and_another_seed_does_not(task, trained):
    again = train(task)
    assert equal(again.state, trained.state)
    assert again.history == trained.history
    assert not equal(train(task, seed=1).state, trained.state)


def test_labels_of_the_fold_left_out_change_nothing(task, trained):
    manifest, _ = task
    labels = manifest.labels.copy()
    labels[manifest.fold_rows(0)] = 1 - labels[manifest.fold_rows(0)]
    assert equal(train(task, columns={"label": labels}).state, trained.state)


def test_history_has_a_row_an_epoch_with_warm_up_and_a_cosine_to_zero(task):
    history = train(task, schedule=Schedule(epochs=6, warmup_epochs=2, batch_size=16)).history
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5, 6]
    rates = [row["lr"] for row in history]
    assert rates[0] < rates[1] > rates[2] > rates[3] > rates[4] > rates[5]
    assert rates[1] == pytest.approx(3e-3, rel=0.2)
    assert rates[5] < 0.03 * 3e-3
    assert history[-1]["loss"] < history[0]["loss"]


def test_history_says_what_the_sampler_drew(task, trained):
    last = trained.history[-1]  # 24 reals and 96 fakes, 8 epochs of 7 batches of 16
    assert all(row["real_share"] == 0.5 for row in trained.history)
    assert (last["seen_real"], last["seen_fake"]) == (24, 96)
    assert last["repeats_real_mean"] == pytest.approx(8 * 7 * 8 / 24)
    assert last["repeats_fake_max"] == 5


def test_row_weights_count_in_the_loss(task):
    manifest, _ = task
    wrong = np.random.default_rng(0).random(len(manifest)) < 0.4
    labels = np.where(wrong, 1 - manifest.labels, manifest.labels)
    rows = manifest.fold_rows(0)
    aucs = []
    for weight in (1.0, 1e-3):
        found = train(task, columns={"label": labels, "weight": np.where(wrong, weight, 1.0)})
        aucs.append(roc_auc_score(manifest.labels[rows], score(task, found.state, rows)))
    assert aucs[1] > aucs[0] + 0.05


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": Loss(kind="focal", gamma=1.0)},
        {"loss": Loss(kind="class_mean"), "sampling": Sampling(mode="natural")},
        {"loss": Loss(kind="logit_adjusted"), "sampling": Sampling(mode="natural")},
        {"sampling": Sampling(mode="undersample"), "optimizer": Optimizer(lr=1e-2)},
        {"sampling": Sampling(mode="weighted", weights="generator")},
        {"network": Network(input="rgb+srm")},
        {"augment": Augment(hflip=0.5, mixup=0.3, cutmix=0.1)},
        {"optimizer": Optimizer(name="lamb", lr=1e-2, layer_decay=0.9, clip_grad=1.0)},
        {"ema": Ema()},
    ],
    ids=lambda c: "-".join(c),
)
def test_every_remedy_learns(task, changes):
    manifest, _ = task
    rows, shown = manifest.fold_rows(0), {k: v for k, v in changes.items() if k == "network"}
    epochs = 16 if "sampling" in changes else 8
    schedule = Schedule(epochs=epochs, warmup_epochs=0.5, batch_size=16)
    found = train(task, schedule=schedule, **changes)
    assert roc_auc_score(manifest.labels[rows], score(task, found.state, rows, **shown)) > 0.8


def test_without_an_average_the_last_weights_are_kept(task):
    found = train(task, ema=Ema())
    assert found.ema_state is None
    assert found.state is found.last_state
    assert "ema_decay" not in found.history[0]


def test_the_average_does_not_touch_the_training(task, trained):
    assert equal(train(task, ema=Ema()).last_state, trained.last_state)
    assert not equal(trained.ema_state, trained.last_state)


def test_raw_and_averaged_weights_are_judged_on_the_fold_left_out(task, trained):
    manifest, store = task
    rows = manifest.fold_rows(0)
    learned = TrainingTask(make_settings(), store, manifest, manifest.rows_to_learn(0), 0)
    judged = judge_unseen(trained, learned, rows, ALONE)
    for name, state in (("raw", trained.last_state), ("ema", trained.ema_state)):
        scores = score(task, state, rows)
        auc = roc_auc_score(manifest.labels[rows], scores)
        figures = judged[name].figures
        assert figures["auc"] == pytest.approx(auc)
        assert figures["auc_low"] <= auc <= figures["auc_high"]
        accuracy = ((scores > 0) == manifest.labels[rows]).mean()
        assert figures["accuracy"] == pytest.approx(accuracy)


@pytest.mark.fault("a loss that is no number")
def test_a_loss_that_is_no_number_stops_and_names_rows(task, monkeypatch):
    manifest, _ = task
    bad, prepare = int(manifest.rows_to_learn(0).row_ids[40]), Trainer.prepare

    def spoil(trainer, batch):
        images, *rest = prepare(trainer, batch)
        images[batch.row_ids == bad] = torch.nan
        return images, *rest

    monkeypatch.setattr(Trainer, "prepare", spoil)
    schedule = Schedule(epochs=2, warmup_epochs=0.5, batch_size=16, max_skipped=0)
    with pytest.raises(NotFiniteError, match=rf"loss of 1 steps .* rows {bad} \(1 rows\)"):
        train(task, model="test_convnext", schedule=schedule)


def test_where_no_row_has_a_loss_the_weights_are_blamed(task):
    with pytest.raises(
        NotFiniteError, match=r"loss of 11 steps in a row, 2 to 12: .* weights"
    ) as e:
        train(task, optimizer=Optimizer(name="sgd", lr=1e20))
    assert "rows" not in str(e.value)


def test_a_training_does_not_go_on_from_that_of_other_weights_of_the_same_name(task, tmp_path):
    manifest, store = task
    settings = make_settings(pretrained="w.pth", weights=Weights(root=str(tmp_path)))
    own = TrainingTask(settings, store, manifest, manifest.rows_to_learn(0), 0)
    params, found = SimpleNamespace(images=SimpleNamespace(pixel_settings={})), []
    for content in ("one", "two", "one"):
        (tmp_path / "w.pth").write_text(content)
        found.append(describe_training(own, params, tmp_path / "out"))
    assert found[0] != found[1]
    assert found[0] == found[2]


def test_seconds_are_those_of_the_images_of_this_run(task, tmp_path):
    manifest, store = task
    rows = manifest.rows_to_learn(0)
    settings = make_settings(schedule=Schedule(epochs=2, warmup_epochs=0.5, batch_size=16))

    def go_on():
        checkpoints = Checkpoints(tmp_path)
        session = Session(ALONE, Interruption(), checkpoints, save_minutes=0)
        learned = TrainingTask(settings, store, manifest, rows, 0)
        return train_network(learned, ALONE, session)

    whole = go_on()
    assert whole.images == whole.total >= 2 * len(rows.row_ids) / 2
    assert whole.seconds > 0
    rest = go_on()  # from the state after the last step
    assert (rest.images, rest.total) == (0, whole.total)


def test_fewer_rows_than_a_batch_train_too(task):
    manifest, store = task
    rows = LearnRows(0, np.arange(10), manifest.digest)
    found = train_network(TrainingTask(make_settings(), store, manifest, rows, 0), ALONE)
    assert len(found.history) == 8


def test_rows_are_drawn_by_the_column_that_is_named(task):
    manifest, store = task
    settings = make_settings(sampling=Sampling(mode="weighted"))
    plain = TrainingTask(settings, store, manifest, manifest.rows_to_learn(0), 0)
    weights = np.where(manifest.labels == 0, 12.0, 1.0)  # 24 reals and 96 fakes: 3 to 1
    heavy = replace(plain, train=change_table(manifest, draw_weight=weights))
    loader = BatchLoader(heavy, ALONE)
    drawn = np.concatenate([loader.load(step).row_ids for step in range(2 * len(loader))])
    assert (manifest.labels[drawn] == 0).mean() == pytest.approx(0.75, abs=0.01)
    with pytest.raises(ConfigError, match=r"data\.columns\.draw_weight names no column"):
        BatchLoader(plain, ALONE)


@pytest.mark.parametrize("loss", [Loss(), Loss(kind="class_mean"), Loss(class_weight="balanced")])
def test_a_batch_in_parts_is_the_same_step(task, loss):
    weights = np.random.default_rng(0).uniform(0.2, 2, len(task[0]))
    task = (change_table(task[0], weight=weights), task[1])
    sampling = Sampling(mode="natural")
    whole, loader = start(task, loss=loss, sampling=sampling)
    schedule = make_settings().schedule.model_copy(update={"accumulate": 3})
    parts, _ = start(task, loss=loss, sampling=sampling, schedule=schedule)
    np.testing.assert_allclose(
        advance(whole, loader, 0, 4), advance(parts, loader, 0, 4), rtol=1e-4
    )


@pytest.mark.fault("going on with another number of processes")
def test_processes_together_draw_what_one_draws(task):
    manifest, store = task
    learned = TrainingTask(make_settings(), store, manifest, manifest.rows_to_learn(0), 0)
    one = BatchLoader(learned, ALONE)
    for world in (2, 3):
        ranks = [BatchLoader(learned, Processes(CPU, rank, world)) for rank in range(world)]
        batches = [loader.load(5) for loader in ranks]
        whole = one.load(5)
        np.testing.assert_array_equal(np.concatenate([b.row_ids for b in batches]), whole.row_ids)
        firsts = np.cumsum([0, *(len(b.row_ids) for b in batches[:-1])]) + whole.first_draw
        assert [b.first_draw for b in batches] == firsts.tolist()


def test_a_resumed_trainer_goes_on_as_if_nothing_had_been(task):
    dropout = {"network": Network(dropout=0.2), "model": "test_resnet"}
    through, loader = start(task, **dropout)
    advance(through, loader, 0, 9)
    first, _ = start(task, **dropout)
    advance(first, loader, 0, 4)
    state = copy.deepcopy(first.state_dict())
    second, _ = start(task, seed=7, **dropout)
    second.load_state_dict(state)
    advance(second, loader, 4, 9)
    assert equal(second.network.state_dict(), through.network.state_dict())
    assert equal(second.ema.module.state_dict(), through.ema.module.state_dict())
    assert second.learning_rate == through.learning_rate


def test_the_head_alone_learns_while_the_backbone_is_frozen(task):
    optimizer = Optimizer(lr=3e-3, frozen_epochs=1.0)
    trainer, loader = start(task, model="test_resnet", optimizer=optimizer)
    before = {k: v.clone() for k, v in trainer.network.state_dict().items()}
    advance(trainer, loader, 0, len(loader))
    after = trainer.network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    head = {f"{name}" for name in before if name.startswith("fc.")}
    assert changed == head  # neither the statistics of batch norm nor a counter
    advance(trainer, loader, len(loader), len(loader) + 1)
    assert not torch.equal(trainer.network.state_dict()["conv1.0.weight"], before["conv1.0.weight"])


def test_a_frozen_start_that_is_resumed_thaws_in_time(task):
    optimizer = Optimizer(lr=3e-3, frozen_epochs=1.0)
    through, loader = start(task, optimizer=optimizer)
    advance(through, loader, 0, 9)
    first, _ = start(task, optimizer=optimizer)
    advance(first, loader, 0, 3)
    second, _ = start(task, seed=3, optimizer=optimizer)
    second.load_state_dict(first.state_dict())
    advance(second, loader, 3, 9)
    assert equal(second.network.state_dict(), through.network.state_dict())


def test_batches_are_a_pure_function_of_their_step(task):
    manifest, store = task
    learned = TrainingTask(make_settings(), store, manifest, manifest.rows_to_learn(0), 0)
    loader = BatchLoader(learned, ALONE)
    again = loader.load(3)
    np.testing.assert_array_equal(again.row_ids, list(loader.iterate(2, 5))[1].row_ids)


@pytest.mark.fault(
    "a loss that is no number",
    "the step is left out, averages too; after more than `schedule.max_skipped` in a row an "
    "error that names rows",
    "Numbers and memory",
)
def test_a_step_whose_loss_is_no_number_is_left_out_and_counted(task, monkeypatch):
    """Batch norm too: its statistics would carry the number on."""
    trainer, loader = start(task, model="test_resnet")
    advance(trainer, loader, 0, 3)
    before = copy.deepcopy(trainer.state_dict())
    batch = loader.load(3)
    monkeypatch.setattr(CrossEntropy, "measure", spoil_row(CrossEntropy.measure, 5))
    assert trainer.advance(batch) is None
    monkeypatch.undo()
    after = trainer.state_dict()
    assert after["step"] == 4
    assert equal(after["network"], before["network"])
    assert equal(after["ema"], before["ema"])
    assert trainer.bad_rows.tolist() == [batch.row_ids[5]]
    assert trainer.advance(loader.load(4)) > 0


def spoil_row(measure, row):
    def spoilt(self, logits, targets):
        losses = measure(self, logits, targets)
        return losses + torch.where(torch.arange(len(losses)) == row, torch.nan, 0.0)

    return spoilt


def test_skipped_steps_stand_in_the_history(task, monkeypatch):
    real, steps = Trainer.advance, []

    def advance_or_skip(trainer, batch):
        steps.append(1)
        if len(steps) not in (2, 3, 9):
            return real(trainer, batch)
        trainer.step += 1
        return None

    monkeypatch.setattr(Trainer, "advance", advance_or_skip)
    schedule = Schedule(epochs=2, warmup_epochs=0.5, batch_size=16, max_skipped=2)
    history = train(task, schedule=schedule, ema=Ema(decay=0.5)).history
    assert [row["skipped"] for row in history] == [2, 1]
    assert all(np.isfinite(row["loss"]) for row in history)


def test_a_schedule_of_images_ends_within_an_epoch(task):
    schedule = Schedule(epochs=None, images=170, warmup_epochs=0.5, batch_size=16)
    found = train(task, schedule=schedule)
    assert [row["epoch"] for row in found.history] == [1, 2]  # 10 steps, 7 an epoch
    assert found.history[-1]["lr"] < 0.1 * 3e-3
    draws = sum(found.history[-1][f"seen_{c}"] * found.history[-1][f"repeats_{c}_mean"]
                for c in ("real", "fake"))  # fmt: skip
    assert draws == pytest.approx(160)
    with pytest.raises(ConfigError, match=r"half_life_epochs 0\.6 is more than a third"):
        train(task, schedule=schedule, ema=Ema(half_life_epochs=0.6))


def test_fewer_rows_are_a_draw_or_the_first(task):
    manifest, _ = task
    everything = manifest.rows_to_learn(1).row_ids
    first = choose_rows(manifest, 1, Sampling(limit_rows=50, take="first"), 0).row_ids
    np.testing.assert_array_equal(first, everything[:50])
    drawn, more = (choose_rows(manifest, 1, Sampling(limit_rows=n), 0).row_ids for n in (50, 90))
    assert len(drawn) == 50
    assert set(drawn) < set(more) < set(everything)
    assert (np.diff(drawn) > 0).all()
    assert set(choose_rows(manifest, 1, Sampling(limit_rows=50), 1).row_ids) != set(drawn)
    with pytest.raises(ConfigError, match=r"limit_rows 121: without fold 1, train has 120 rows"):
        choose_rows(manifest, 1, Sampling(limit_rows=121), 0)


@pytest.mark.fault("too little memory on the card or beside it")
@pytest.mark.parametrize("when", ["advance", "_build_network"])
def test_too_little_memory_on_the_device_says_what_to_do(task, monkeypatch, when):
    def run_out(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(Trainer, when, run_out)
    with pytest.raises(DeviceMemoryError, match=r"schedule\.accumulate=2"):
        train(task)


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ({"model": "test_convnext"}, "Compute each batch in parts, with the same result: schedule"),
        (
            {},
            "With the same result: network.checkpointing=true. Or compute each batch in parts, of",
        ),
        ({"optimizer": Optimizer(tune="head")}, "Compute each batch in parts, with the same"),
        ({"network": Network(checkpointing=True)}, "Compute each batch in parts, of which batch"),
    ],
    ids=["layer-norm", "batch-norm", "fixed-statistics", "checkpointing"],
)
def test_what_changes_no_result_is_advised_first(task, monkeypatch, changes, first):
    def run_out(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(Trainer, "advance", run_out)
    with pytest.raises(DeviceMemoryError) as caught:
        train(task, **changes)
    assert first in str(caught.value)


@pytest.mark.parametrize(
    "text", ["CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"]
)
def test_too_little_memory_where_pixels_are_fed_says_what_to_do(task, monkeypatch, text):
    """In the thread that loads batches, and of errors without a type of their own."""
    manifest, store = task

    class Full(type(store)):
        def gather(self, row_ids, out=None):
            raise RuntimeError(text)

    full = Full(*store.__reduce__()[1])
    with pytest.raises(DeviceMemoryError, match=r"schedule\.accumulate=2"):
        train((manifest, full))


@pytest.mark.parametrize(("began", "goes_on"), [("bfloat16", "float16"), ("float16", "float32")])
@pytest.mark.parametrize("back", [False, True])
def test_a_training_goes_on_in_another_precision(task, began, goes_on, back):
    """As from an H100 or a CPU to a T4, and back: only float16 has a scaler with a state."""
    if back:
        began, goes_on = goes_on, began
    first, loader = start(task, network=Network(precision=began))
    advance(first, loader, 0, 3)
    second, _ = start(task, network=Network(precision=goes_on))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert equal(second.network.state_dict(), first.network.state_dict())
    for batch in loader.iterate(3, 6):
        assert np.isfinite(second.advance(batch))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_the_head_computes_in_float32_while_it_learns(task, monkeypatch, precision):
    seen = []
    measure = CrossEntropy.measure

    def look(self, logits, targets):
        seen.append(logits.detach().clone())
        return measure(self, logits, targets)

    monkeypatch.setattr(CrossEntropy, "measure", look)
    trainer, loader = start(task, network=Network(precision=precision), augment=Augment(hflip=0.0))
    (batch,) = loader.iterate(0, 1)
    network = copy.deepcopy(trainer.network).train()
    trainer.advance(batch)
    _, log_odds = embed(network, trainer.normalise(batch.pixels), trainer.precision)
    assert seen[0].dtype == torch.float32
    assert torch.equal(seen[0][:, 1] - seen[0][:, 0], log_odds)


@pytest.mark.parametrize(
    "precision", [pytest.param("bfloat16", marks=pytest.mark.scale), "float16"]
)
def test_half_precision_learns_and_resumes(task, precision):
    manifest, _ = task
    network = Network(precision=precision)
    found = train(task, network=network)
    rows = manifest.fold_rows(0)
    assert roc_auc_score(manifest.labels[rows], score(task, found.state, rows)) > 0.9
    assert all(value.dtype != getattr(torch, precision) for value in found.state.values())
    through, loader = start(task, network=network)
    advance(through, loader, 0, 6)
    first, _ = start(task, network=network)
    advance(first, loader, 0, 3)
    second, _ = start(task, seed=3, network=network)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    advance(second, loader, 3, 6)
    assert equal(second.network.state_dict(), through.network.state_dict())
    assert second.scaler.state_dict() == through.scaler.state_dict()
