import pytest
from small_task import make_settings

from features.errors import ConfigError
from features.settings.learning import Network, Optimizer
from stage1_cnn.networks.network import build_network
from stage1_cnn.runtime.budget import count_parameters
from stage1_cnn.tuning.learned import count_weights, prepare_tuning


def make(model, tune="all", **network):
    optimizer = Optimizer(tune=tune, lora_rank=4)
    return make_settings(
        model=model, image_size=64, optimizer=optimizer, network=Network(**network)
    )


def prepare(*args, **network):
    settings = make(*args, **network)
    prepared = build_network(settings)
    prepare_tuning(prepared, settings)
    return prepared


def list_learning(network):
    return {name for name, p in network.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("model", "head"),
    [("test_resnet", "fc."), ("test_vit", "head."), ("test_convnext", "head.fc.")],
)
def test_the_head_alone_learns(model, head):
    network = prepare(model, "head")
    assert list_learning(network) == {
        n for n, _ in network.named_parameters() if n.startswith(head)
    }


@pytest.mark.parametrize(
    ("model", "some"),
    [
        ("test_resnet", {"conv1.1.weight", "bn1.bias", "layer1.0.bn2.weight"}),
        ("test_vit", {"blocks.0.norm1.weight", "norm.bias"}),
        ("test_convnext", {"stages.0.blocks.0.norm.weight", "head.norm.bias"}),
        ("test_efficientnet_gn", {"bn1.weight", "blocks.0.0.bn1.bias"}),
        ("test_efficientnet_evos", {"bn1.weight", "bn1.v"}),
    ],
)
def test_scales_and_shifts_of_norms_learn(model, some):
    network = prepare(model, "norm")
    found = list_learning(network)
    heads = tuple(
        n for n in found if "norm" not in n and n.startswith(("head", "fc", "classifier"))
    )
    assert some <= found
    assert heads
    assert all(network.get_parameter(name).ndim == 1 for name in found - set(heads))


def test_statistics_stay_where_the_norms_do_not_learn():
    modes = {
        tune: {m.training for n, m in prepare("test_resnet", tune).named_modules() if "bn" in n}
        for tune in ("all", "norm", "head", "lora")
    }
    assert modes == {"all": {True}, "norm": {True}, "head": {False}, "lora": {False}}


def test_what_is_stored_and_what_learns_is_counted_with_and_without_values():
    whole = count_weights(prepare("test_vit"))
    assert whole.stored == whole.learned
    for tune in ("head", "norm", "lora"):
        count = count_weights(prepare("test_vit", tune))
        assert count.stored == whole.stored
        assert 0 < count.learned < whole.stored / 4
        assert count_parameters(make("test_vit", tune)) == count
    qkv, proj, blocks = 4 * (64 + 192), 4 * (64 + 64), 6
    assert count.learned == blocks * (qkv + proj) + 2 * 64 + 2  # and the head


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (make("test_nfnet", "norm"), "optimizer.tune norm: test_nfnet has no norms"),
        (make("vgg11", checkpointing=True), "network.checkpointing: vgg11 cannot do it"),
    ],
)
def test_what_a_network_cannot_do_is_told_before_any_work(settings, problem):
    with pytest.raises(ConfigError, match=problem):
        count_parameters(settings)
