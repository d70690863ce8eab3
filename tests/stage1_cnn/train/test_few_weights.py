"""Trainings in which few weights learn, or layers are computed again."""

import copy

import pytest
import torch
from small_task import make_settings
from small_trainings import ALONE, CPU, advance, equal, start
from torch import nn

from features.core.members import Correction, MemberId
from features.errors import ConfigError
from features.settings.learning import Ema, Network, Optimizer, Schedule
from stage1_cnn.dump.onnx import OnnxEngine
from stage1_cnn.networks.member import Member, load_network, write_member
from stage1_cnn.networks.network import build_network
from stage1_cnn.sampling.training_task import TrainingTask
from stage1_cnn.scoring.engines import build_torch_engine
from stage1_cnn.train.loop import train_network
from stage1_cnn.tuning.low_rank import merge_low_rank


def tune(name, **changes):
    return Optimizer(**{"tune": name, "lr": 3e-3, "lora_rank": 4, **changes})


def copy_state(network):
    return {name: value.clone() for name, value in merge_low_rank(network).items()}


def list_changed(before, after):
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def list_entries(network, kind):
    """Names of all that modules of this kind keep."""
    found = [(n, m) for n, m in network.named_modules() if isinstance(m, kind)]
    return {f"{name}.{key}" for name, module in found for key in module.state_dict()}


def test_the_weights_that_are_named_move_and_no_others(task):
    plain = build_network(make_settings())
    norms = list_entries(plain, nn.BatchNorm2d)
    named = {f"{n}.weight" for n, m in plain.named_modules() if n.endswith("downsample.1")}
    head = {"fc.weight", "fc.bias"}
    changed = {}
    for name in ("head", "norm", "lora"):
        optimizer = tune(name, lora_layers=("*.downsample.1",))
        trainer, loader = start(task, model="test_resnet", optimizer=optimizer)
        before = copy_state(trainer.network)
        advance(trainer, loader, 0, 3)
        changed[name] = list_changed(before, copy_state(trainer.network))
        assert list_changed(before, copy_state(trainer.ema.module)) == changed[name]
    assert changed == {"head": head, "norm": head | norms, "lora": head | named}


@pytest.mark.parametrize("name", ["head", "norm", "lora"])
def test_a_resumed_training_of_few_weights_goes_on_as_if_nothing_had_been(task, name):
    frozen = 0.0 if name == "head" else 0.3  # two steps of seven
    changes = {
        "model": "test_resnet",
        "optimizer": tune(name, frozen_epochs=frozen, lora_layers=("*.downsample.1",)),
        "network": Network(dropout=0.2, checkpointing=True),
    }
    through, loader = start(task, **changes)
    advance(through, loader, 0, 5)
    first, _ = start(task, **changes)
    advance(first, loader, 0, 3)
    state = copy.deepcopy(first.state_dict())
    second, _ = start(task, seed=7, **changes)
    second.load_state_dict(state)
    advance(second, loader, 3, 5)
    assert equal(second.network.state_dict(), through.network.state_dict())
    assert equal(second.ema.module.state_dict(), through.ema.module.state_dict())


@pytest.mark.parametrize(("model", "name"), [("test_resnet", "layer2.0"), ("test_vit", "blocks.1")])
def test_layers_that_are_computed_again_change_no_byte(task, model, name):
    """Batch norm counts a batch once, and what dropout leaves out is the same again."""
    states = []
    for again in (False, True):
        network = Network(checkpointing=again, dropout=0.2, drop_path=0.1)
        schedule = Schedule(epochs=8, batch_size=16, accumulate=2)
        trainer, loader = start(task, model=model, network=network, schedule=schedule)
        calls = []
        layer = trainer.network.get_submodule(name)
        layer.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        advance(trainer, loader, 0, 3)
        assert len(calls) == 3 * 2 * (2 if again else 1)
        states.append(trainer.network.state_dict())
    assert equal(*states)


def test_few_weights_learn_and_what_is_kept_is_a_plain_network_for_all_that_read_it(task, tmp_path):
    manifest, store = task
    settings = make_settings(
        model="test_efficientnet_gn",
        optimizer=tune("lora", lr=1e-2, lora_rank=8),
        schedule=Schedule(epochs=5, warmup_epochs=0.5, batch_size=16),
    )
    rows = manifest.rows_to_learn(0)
    trained = train_network(TrainingTask(settings, store, manifest, rows, 0), ALONE)
    assert trained.history[-1]["loss"] < trained.history[0]["loss"] / 2
    plain = build_network(settings, load=False)
    assert trained.parameters.stored == sum(p.numel() for p in plain.parameters())
    assert trained.parameters.learned < trained.parameters.stored / 4
    identity = MemberId("gn", 0, "", manifest.digest, Correction())
    member = Member(identity, settings, 120, 24, 96, *trained.parameters)
    loaded = load_network(tmp_path, write_member(trained.state, member, tmp_path))
    pixels = torch.from_numpy(store.gather(manifest.fold_rows(0)))
    engine = build_torch_engine(loaded, settings, CPU)
    graph = OnnxEngine(engine, pixels)
    torch.testing.assert_close(graph(pixels)[0], engine(pixels)[0], atol=1e-4, rtol=0)


def test_a_frozen_start_as_long_as_the_training_is_refused(task):
    schedule = Schedule(epochs=None, images=100, batch_size=16)
    with pytest.raises(ConfigError, match=r"frozen_epochs 1: .*optimizer\.tune head"):
        start(task, schedule=schedule, ema=Ema(), optimizer=tune("norm", frozen_epochs=1.0))
