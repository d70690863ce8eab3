"""The average against its definition, in and out of wrappers that rename what they hold."""

from functools import partial

import pytest
import torch
from small_task import make_settings
from small_trainings import advance, equal, start

from features.settings.learning import Ema, Network
from stage1_cnn.networks.network import build_network
from stage1_cnn.train.ema import build_ema, compute_decay


@pytest.mark.parametrize(("half_life", "steps"), [(0.5, 100), (2.0, 37)])
def test_decay_halves_after_its_half_life(half_life, steps):
    decay = compute_decay(Ema(half_life_epochs=half_life), steps)
    assert decay ** (half_life * steps) == pytest.approx(0.5)


def test_a_given_decay_is_taken_as_it_is():
    assert compute_decay(Ema(decay=0.9), 1000) == 0.9


def test_half_life_and_decay_together_are_refused():
    with pytest.raises(ValueError, match="set one to null"):
        Ema(half_life_epochs=0.5, decay=0.9)


def test_weights_and_statistics_are_averaged_and_counters_copied():
    network = build_network(make_settings())
    ema = build_ema(network, Ema(decay=0.75, warmup=False), 10)
    expected = {name: value.clone() for name, value in network.state_dict().items()}
    for step in range(1, 5):
        with torch.no_grad():
            for value in network.state_dict().values():
                value += 1
        ema.update(network, step=step)
        for name, value in network.state_dict().items():
            # timm's first update copies
            weight = 1.0 if step == 1 else 0.25
            old = expected[name]
            expected[name] = old + weight * (value - old) if value.is_floating_point() else value
    for name, value in ema.module.state_dict().items():
        torch.testing.assert_close(value, expected[name])
    assert ema.module.state_dict()["bn1.num_batches_tracked"] == 4


def test_warm_up_starts_as_an_average_of_few_steps():
    network = build_network(make_settings())
    warm = build_ema(network, Ema(decay=0.999), 10)
    cold = build_ema(network, Ema(decay=0.999, warmup=False), 10)
    decays = [warm.get_decay(step) for step in (2, 10, 100, 1000, 10**6)]
    assert decays == sorted(decays)
    assert decays[1] < 0.8
    assert decays[-1] == 0.999
    assert cold.get_decay(2) == 0.999


@pytest.fixture(scope="module")
def plain(task):
    trainer, loader = start(task)
    advance(trainer, loader, 0, 6)
    return trainer


def check_same(trainer, plain):
    assert not equal(trainer.ema.module.state_dict(), trainer.network.state_dict())
    for name, value in plain.ema.module.state_dict().items():
        torch.testing.assert_close(trainer.ema.module.state_dict()[name], value)


def test_a_compiled_network_has_the_same_average(task, plain, monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    trainer, loader = start(task, network=Network(compile=True))
    advance(trainer, loader, 0, 6)
    check_same(trainer, plain)
