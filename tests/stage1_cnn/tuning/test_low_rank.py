import copy

import pytest
import timm
import torch
from small_task import make_settings
from torch import nn

from features.errors import ConfigError
from features.settings.learning import Optimizer
from stage1_cnn.networks.network import build_network, find_head
from stage1_cnn.tuning.low_rank import LowRank, add_low_rank, merge_low_rank

SIDE = 64


def make(model, **lora):
    return make_settings(model=model, image_size=SIDE, optimizer=Optimizer(tune="lora", **lora))


def build(model):
    """Its head and branches count: as timm draws them, all logits are about zero."""
    torch.manual_seed(0)
    network = build_network(make(model))
    nn.init.normal_(find_head(network).weight)
    for name, parameter in network.named_parameters():
        if name.endswith("gamma"):
            nn.init.ones_(parameter)
    return network


def learn(network):
    """Gives updates that were added something to say."""
    for module in network.modules():
        if isinstance(module, LowRank):
            nn.init.normal_(module.up, std=0.3)


def list_updated(network):
    ends = ".parametrizations.weight.0"
    return {n.removesuffix(ends) for n, m in network.named_modules() if isinstance(m, LowRank)}


@torch.inference_mode()
def score(network):
    generator = torch.Generator().manual_seed(0)
    return network.eval()(torch.randn(3, 3, SIDE, SIDE, generator=generator))


@pytest.mark.parametrize(
    "model",
    ["test_vit", "test_maxvit", "test_convnext", "test_resnet", "test_efficientnet", "test_nfnet"],
)
def test_the_merged_network_is_the_one_that_learned(model):
    network = build(model)
    plain = copy.deepcopy(network)
    before = score(network)
    add_low_rank(network, make(model))
    assert torch.equal(score(network), before)  # nothing has learned yet
    learn(network)
    wanted = score(network)
    assert (wanted - before).abs().max() > 0.1
    plain.load_state_dict(merge_low_rank(network))
    torch.testing.assert_close(score(plain), wanted, atol=1e-4, rtol=1e-4)
    assert torch.equal(score(network), wanted)  # merging has left it alone


def test_a_layer_whose_weight_is_read_by_its_neighbour_is_updated_too():
    """BEiT's attention multiplies by `qkv.weight` itself and never calls `qkv`."""
    small = {"img_size": SIDE, "embed_dim": 32, "depth": 2, "num_heads": 2, "num_classes": 2}
    network = timm.create_model("beit_base_patch16_224", **small)
    before = score(network)
    add_low_rank(network, make("beit_base_patch16_224", lora_layers=("*.qkv",)))
    learn(network)
    assert not torch.equal(score(network), before)


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
