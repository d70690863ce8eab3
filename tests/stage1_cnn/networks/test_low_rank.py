import pytest
import timm
import torch
from small_task import make_settings

from features.errors import ConfigError
from features.settings.learning import Optimizer
from stage1_cnn.networks.low_rank import LowRank, add_low_rank, merge_low_rank
from stage1_cnn.networks.network import build_network

SIDE = 64


def make(model, **lora):
    return make_settings(model=model, image_size=SIDE, optimizer=Optimizer(tune="lora", **lora))


def update(network, settings):
    """Updates that have learned something."""
    add_low_rank(network, settings)
    for module in network.modules():
        if isinstance(module, LowRank):
            torch.nn.init.normal_(module.up, std=0.3)


def list_updated(network):
    ends = ".parametrizations.weight.0"
    return {n.removesuffix(ends) for n, m in network.named_modules() if isinstance(m, LowRank)}


@torch.inference_mode()
def score(network):
    generator = torch.Generator().manual_seed(0)
    return network.eval()(torch.randn(3, 3, SIDE, SIDE, generator=generator))


@pytest.mark.parametrize(
    "model", ["test_vit", "test_maxvit", "test_convnext", "test_resnet", "test_efficientnet"]
)
def test_the_merged_network_is_the_one_that_learned(model):
    torch.manual_seed(0)
    settings = make(model)
    network = build_network(settings)
    before = score(network)
    add_low_rank(network, settings)
    assert torch.equal(score(network), before)  # nothing has learned yet
    update_again = build_network(settings)
    update(update_again, settings)
    wanted = score(update_again)
    plain = build_network(settings)
    names = set(plain.state_dict())
    state = merge_low_rank(update_again)
    assert set(state) == names
    plain.load_state_dict(state)
    torch.testing.assert_close(score(plain), wanted, atol=1e-5, rtol=1e-5)
    assert torch.equal(score(update_again), wanted)  # merging has left it alone


def test_a_layer_whose_weight_is_read_by_its_neighbour_is_updated_too():
    """BEiT's attention multiplies by `qkv.weight` itself and never calls `qkv`."""
    small = {"img_size": SIDE, "embed_dim": 32, "depth": 2, "num_heads": 2, "num_classes": 2}
    torch.manual_seed(0)
    network = timm.create_model("beit_base_patch16_224", **small)
    plain = timm.create_model("beit_base_patch16_224", **small)
    before = score(network)
    update(network, make("beit_base_patch16_224", lora_layers=("*.qkv",)))
    assert not torch.allclose(score(network), before, atol=1e-3)
    plain.load_state_dict(merge_low_rank(network))
    torch.testing.assert_close(score(plain), score(network))


@pytest.mark.parametrize(
    ("model", "lora", "names"),
    [
        ("test_vit", {}, {"attn.qkv", "attn.proj"}),
        ("test_vit", {"lora_layers": ("*.fc1", "*.qkv")}, {"mlp.fc1", "attn.qkv"}),
        ("test_convnext", {}, {"mlp.fc1", "mlp.fc2"}),  # linear layers that see one pixel
    ],
)
def test_attention_or_what_sees_one_pixel_is_updated_or_what_is_named(model, lora, names):
    network = build_network(make(model))
    add_low_rank(network, make(model, **lora))
    assert {".".join(name.split(".")[-2:]) for name in list_updated(network)} == names


def test_convolutions_of_one_pixel_are_updated_and_wider_ones_if_named():
    network = build_network(make("test_efficientnet"))
    add_low_rank(network, make("test_efficientnet"))
    kernels = {tuple(network.get_submodule(n).kernel_size) for n in list_updated(network)}
    assert kernels == {(1, 1)}
    network = build_network(make("test_resnet"))
    add_low_rank(network, make("test_resnet", lora_layers=("layer1.*.conv2",)))
    assert {tuple(network.get_submodule(n).kernel_size) for n in list_updated(network)} == {(3, 3)}


@pytest.mark.parametrize(
    ("lora", "problem"),
    [
        ({"lora_layers": ("*.qkv", "*.qvk")}, r"'\*\.qvk' names no layer of test_vit"),
        ({"lora_layers": ("head",)}, r"blocks\.\*\.attn\.qkv, blocks\.\*\.attn\.proj"),
        ({"lora_rank": 1000}, "above rank 1000 it has none"),
    ],
)
def test_a_pattern_that_names_no_layer_is_answered_with_those_there_are(lora, problem):
    settings = make("test_vit", **lora)
    with pytest.raises(ConfigError, match=problem):
        add_low_rank(build_network(settings), settings)
