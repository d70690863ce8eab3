import pytest
import torch
from small_task import make_settings

from features.errors import ConfigError
from features.settings.learning import Optimizer, Schedule
from stage1_cnn.networks.network import build_network
from stage1_cnn.train.optimisers import build_optimizer, build_scheduler, clip_gradients, find_head


def list_rates(network, optimizer, schedule, steps, lr=1.0):
    scheduler = build_scheduler(optimizer, lr, schedule, steps, schedule.epochs * steps)
    rates = []
    for step in range(schedule.epochs * steps):
        scheduler.step_update(step)
        rates.append([group["lr"] for group in optimizer.param_groups])
    return rates


def build(model="test_vit", **settings):
    network = build_network(make_settings(model=model, image_size=64))
    return network, build_optimizer(network, Optimizer(lr=1.0, **settings))


def rate_of(network, optimizer, name):
    parameter = network.get_parameter(name)
    (group,) = [g for g in optimizer.param_groups if any(p is parameter for p in g["params"])]
    return group["lr_scale"]


@pytest.mark.parametrize(
    ("decay", "half_way"), [("cosine", 0.5), ("linear", 0.5), ("constant", 1.0)]
)
def test_rates_warm_up_and_then_fall_as_asked(decay, half_way):
    network, optimizer = build()
    schedule = Schedule(epochs=5, warmup_epochs=1, decay=decay)
    rates = [step[0] for step in list_rates(network, optimizer, schedule, 20)]
    assert rates[0] == pytest.approx(1e-3)
    assert rates[:20] == sorted(rates[:20])
    assert rates[20] == pytest.approx(1.0)
    assert rates[60] == pytest.approx(half_way, abs=0.02)
    assert rates[-1] == (pytest.approx(1.0) if decay == "constant" else pytest.approx(0, abs=0.03))


def test_the_backbone_may_learn_slower_than_the_head():
    network, optimizer = build(backbone_lr_scale=0.1)
    assert rate_of(network, optimizer, "head.weight") == 1.0
    assert rate_of(network, optimizer, "head.bias") == 1.0
    assert rate_of(network, optimizer, "patch_embed.proj.weight") == pytest.approx(0.1)
    (rates,) = list_rates(network, optimizer, Schedule(epochs=1, warmup_epochs=0), 1)
    assert {round(rate, 6) for rate in rates} == {0.1, 1.0}


def test_layers_learn_the_slower_the_lower_they_are():
    network, optimizer = build(layer_decay=0.5, backbone_lr_scale=0.1)
    names = ("patch_embed.proj.weight", "blocks.0.mlp.fc1.weight", "blocks.1.mlp.fc1.weight")
    rates = [rate_of(network, optimizer, name) for name in names]
    assert rates == sorted(rates)
    assert rates[0] < rates[1] < rates[2] <= 0.1
    assert rate_of(network, optimizer, "head.weight") == 1.0


def test_every_parameter_is_there_once_and_only_matrices_decay():
    network, optimizer = build(weight_decay=0.1)
    listed = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in network.parameters())
    for group in optimizer.param_groups:
        kinds = {p.ndim > 1 for p in group["params"]}
        assert kinds == {True} or group["weight_decay"] == 0


def test_an_unknown_optimiser_is_an_error_of_the_settings():
    with pytest.raises(ConfigError, match=r"(?s)optimizer\.name.*adamx"):
        build(name="adamx")


def fill_gradients(network, size):
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, size)


def total_norm(network):
    return torch.cat([p.grad.ravel() for p in network.parameters()]).norm().item()


@pytest.mark.parametrize("mode", ["norm", "value", "agc"])
def test_gradients_are_bounded_in_the_sense_asked_for(mode):
    network, _ = build()
    fill_gradients(network, 100.0)
    before = total_norm(network)
    clip_gradients(network, Optimizer(clip_grad=0.01, clip_mode=mode))
    largest = max(p.grad.abs().max().item() for p in network.parameters())
    if mode == "norm":
        assert total_norm(network) == pytest.approx(0.01, rel=1e-3)
    elif mode == "value":
        assert largest == pytest.approx(0.01)
    else:
        assert total_norm(network) < before / 10
        assert (find_head(network).weight.grad == 100.0).all()  # the head is spared


def test_small_gradients_and_no_bound_change_nothing():
    network, _ = build()
    fill_gradients(network, 1e-9)
    clip_gradients(network, Optimizer(clip_grad=1.0))
    assert all((p.grad == 1e-9).all() for p in network.parameters())
    fill_gradients(network, 100.0)
    clip_gradients(network, Optimizer())
    assert all((p.grad == 100.0).all() for p in network.parameters())
