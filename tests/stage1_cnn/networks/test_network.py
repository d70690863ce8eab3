import pytest
import timm
import torch
from small_task import make_settings
from torch import nn

from features.errors import ConfigError
from features.settings.learning import Network
from stage1_cnn.networks.network import (
    Classifier,
    build_network,
    check_image_size,
    check_other_size,
    embed,
    fit_image_size,
    get_normalisation,
    settle_network,
)

BOTH = Network(input="rgb+srm")
# A CNN and a transformer whose two heads were made for distillation, beside timm's tiny networks.
NETWORKS = [*timm.list_models("test_*"), "levit_128s", "deit_tiny_distilled_patch16_224"]


def make(**changes):
    return make_settings(**{"network": Network()} | changes)


def test_unknown_network_names_the_nearest_known_one():
    with pytest.raises(ConfigError, match="resnet50"):
        build_network(make(model="resnet5O"))


def test_unknown_weights_of_a_known_network_name_the_nearest():
    with pytest.raises(ConfigError, match=r"did you mean resnet18\.a1_in1k"):
        build_network(make(model="resnet18.a1_in1"))


@pytest.mark.parametrize("model", NETWORKS)
def test_log_odds_are_those_of_the_networks_own_head(model):
    network = build_network(make(model=model, image_size=64, network=BOTH)).eval()
    images = torch.randn(3, 6, 64, 64)
    with torch.inference_mode():
        embeddings, log_odds = embed(network, images)
        logits = network(images)
    width = getattr(network, "head_hidden_size", network.num_features)
    assert embeddings.shape == (3, width)
    torch.testing.assert_close(log_odds, torch.log_softmax(logits, 1).diff(dim=1)[:, 0])


@pytest.mark.parametrize("model", ["test_resnet", "test_vit", "test_convnext", "test_maxvit"])
def test_gradients_reach_the_first_layer_and_all_six_channels(model):
    network = build_network(make(model=model, image_size=64, network=BOTH)).train()
    _, log_odds = embed(network, torch.randn(4, 6, 64, 64))
    log_odds.square().mean().backward()
    stem = next(p for p in network.parameters() if p.ndim == 4)
    assert stem.shape[1] == 6
    assert (stem.grad.abs().amax(dim=(0, 2, 3)) > 0).all()


@pytest.mark.parametrize("kind", ["rgb", "srm"])
def test_three_channels_for_colours_or_noise_alone(kind):
    network = build_network(make(network=Network(input=kind)))
    assert next(network.parameters()).shape[1] == 3


def test_drop_rates_reach_the_network():
    network = build_network(make(model="test_vit", network=Network(drop_path=0.2, dropout=0.3)))
    assert network.blocks[-1].drop_path1.drop_prob == pytest.approx(0.2)
    assert isinstance(network.head_drop, nn.Dropout)
    assert network.head_drop.p == pytest.approx(0.3)


@pytest.mark.parametrize("model", ["vgg11", "hrnet_w18_small", "densenet121"])
def test_a_network_without_drop_path_says_so(model):
    with (
        torch.device("meta"),
        pytest.raises(ConfigError, match=rf"network\.drop_path: {model} does not take it"),
    ):
        build_network(make(model=model, network=Network(drop_path=0.1, dropout=0.1)))


@pytest.mark.parametrize(
    ("model", "side", "reason"),
    [
        ("test_vit", 100, "divisible by patch size"),
        ("test_maxvit", 100, "divisible by window"),
        ("efficientformer_l1", 64, "cannot see it"),
    ],
)
def test_a_side_that_a_network_cannot_see_is_a_config_error(model, side, reason):
    with pytest.raises(ConfigError, match=f"image_size {side}: {model} .*{reason}"):
        check_image_size(make(model=model, image_size=side))


@pytest.mark.parametrize("model", ["test_vit", "test_maxvit", "efficientformer_l1", "resnet50"])
def test_sides_that_a_network_can_see_pass(model):
    check_image_size(make(model=model, image_size=224, network=BOTH))


def test_normalisation_is_the_networks_own():
    with torch.device("meta"):
        network = build_network(make(model="tf_efficientnet_lite0"))
    assert get_normalisation(network) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_a_networks_own_size_is_the_one_that_timm_names():
    settings = make_settings(model="tf_efficientnet_lite1", image_size=256, own_size=True)
    settled = settle_network(settings)
    assert (settled.image_size, settled.own_size) == (240, False)
    assert settle_network(settled) == settled
    with pytest.raises(ConfigError, match=r"sees 240 pixels, and images\.size is 224"):
        settle_network(settings.model_copy(update={"image_size": 224}))


@pytest.mark.parametrize("model", ["test_resnet", "test_vit", "test_maxvit"])
def test_a_network_may_see_larger_pictures_than_it_learned_from(model):
    settings = make(model=model, image_size=64)
    torch.manual_seed(0)
    network = build_network(settings).eval()
    check_other_size(settings, 96)
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        before = embed(network, images)
        fit_image_size(network, settings, 64)
        after = embed(network, images)
        fit_image_size(network, settings, 96)
        embeddings, log_odds = embed(network, torch.randn(2, 3, 96, 96))
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert embeddings.shape == before[0].shape
    assert log_odds.isfinite().all()


@pytest.mark.parametrize(
    ("model", "side", "reason"),
    [
        ("levit_128s", 256, "was trained for 224 and is of that size for good"),
        ("test_vit", 250, "divisible by patch size"),
    ],
)
def test_a_size_that_a_trained_network_cannot_be_fitted_to_is_told(model, side, reason):
    with pytest.raises(ConfigError, match=reason) as caught:
        check_other_size(make(model=model, image_size=224), side)
    assert "dump.image_size null" in str(caught.value)


@pytest.mark.parametrize("model", ["test_resnet", "test_vit", "crossvit_tiny_240"])
def test_the_head_computes_in_float32_whatever_the_precision_below(model):
    side = 240 if model == "crossvit_tiny_240" else 64
    torch.manual_seed(0)
    network = build_network(make(model=model, image_size=side)).eval()
    images = torch.randn(2, 3, side, side)
    with torch.inference_mode():
        exact, rough = embed(network, images), embed(network, images, torch.bfloat16)
    for found, expected in zip(rough, exact, strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, atol=0.1, rtol=0.1)


@pytest.mark.parametrize(
    "model",
    ["test_resnet", "test_efficientnet", "test_vit", "test_convnext", "test_nfnet", "test_maxvit",
     "mobilenetv3_small_050", "deit_tiny_distilled_patch16_224", "hrnet_w18_small",
     "efficientformer_l1", "swin_tiny_patch4_window7_224", "edgenext_xx_small"],
)  # fmt: skip
def test_what_learns_is_the_network_itself(model):
    """Features and head one after the other are what timm's own `forward` does."""
    torch.manual_seed(0)
    network = build_network(make(model=model, image_size=224)).eval()
    images = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        wanted, found = network(images), Classifier(network, torch.float32)(images)[0]
    assert torch.equal(found, wanted)
