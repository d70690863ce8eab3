"""Encoders under a head: which layer and pooling they give, and what they cannot."""

import pytest
import timm
import torch
from small_task import make_settings

from features.errors import ConfigError
from stage1_cnn.networks.frozen_network import freeze_network, read_head, set_head
from stage1_cnn.networks.network import build_network, check_image_size, embed

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def build(model, **changes):
    torch.manual_seed(0)
    return build_network(make_settings(kind="frozen", model=model, **changes), load=False)


def build_plain(model):
    torch.manual_seed(0)
    sized = {"img_size": 32} if "vit" in model else {}
    return timm.create_model(model, num_classes=0, **sized).eval()


@pytest.mark.parametrize("model", ["test_resnet", "test_vit", "test_efficientnet"])
def test_the_embedding_is_what_the_networks_own_head_sees(model):
    plain = build_plain(model)
    with torch.inference_mode():
        wanted = plain.forward_head(plain.forward_features(IMAGES), pre_logits=True)
        embeddings, log_odds = embed(build(model), IMAGES)
    torch.testing.assert_close(embeddings, wanted)
    assert not log_odds.any()  # the head says nothing yet


@pytest.mark.parametrize(
    ("pooling", "pick"),
    [
        ("token", lambda tokens: tokens[:, 0]),
        ("mean", lambda tokens: tokens[:, 1:].mean(1)),
        ("max", lambda tokens: tokens[:, 1:].amax(1)),
    ],
)
@pytest.mark.parametrize("layer", [None, 1])
def test_tokens_are_pooled_as_asked(pooling, pick, layer):
    plain = build_plain("test_vit")
    with torch.inference_mode():
        if layer is None:
            tokens = plain.forward_features(IMAGES)
        else:
            [(places, prefix)] = plain.forward_intermediates(
                IMAGES, indices=[layer], intermediates_only=True, return_prefix_tokens=True,
                output_fmt="NLC",
            )  # fmt: skip
            tokens = torch.cat([prefix, places], dim=1)
        embeddings, _ = embed(build("test_vit", pooling=pooling, layer=layer), IMAGES)
    torch.testing.assert_close(embeddings, pick(tokens))


def test_a_layer_of_feature_maps_is_their_mean_unless_the_highest_is_asked_for():
    plain = build_plain("test_resnet")
    with torch.inference_mode():
        (maps,) = plain.forward_intermediates(IMAGES, indices=[1], intermediates_only=True)
        mean, _ = embed(build("test_resnet", layer=1), IMAGES)
        highest, _ = embed(build("test_resnet", layer=1, pooling="max"), IMAGES)
    torch.testing.assert_close(mean, maps.mean((2, 3)))
    torch.testing.assert_close(highest, maps.amax((2, 3)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pooling": "token"}, "pooling token: test_resnet cannot do it (it has no class token)"),
        ({"layer": 40}, "layer 40: test_resnet cannot do it"),
    ],
)
def test_what_a_network_has_not_is_said_before_any_weights_are_read(changes, said):
    settings = make_settings(kind="frozen", pretrained="nowhere.safetensors", **changes)
    with pytest.raises(ConfigError) as caught:
        check_image_size(settings)
    assert said in str(caught.value)


def test_a_network_without_inner_layers_says_so():
    """As some had none in earlier versions of timm."""
    encoder, settings = torch.nn.Linear(2, 2), make_settings(kind="frozen", layer=1)
    with pytest.raises(
        ConfigError, match="layer 1: of test_resnet timm gives no layer but the last"
    ):
        freeze_network(encoder, settings)


def test_the_head_is_a_matter_of_weight_and_bias():
    network = build("test_resnet")
    weight = torch.linspace(-1, 1, network.head.in_features)
    set_head(network, weight, 0.25)
    with torch.inference_mode():
        embeddings, log_odds = embed(network, IMAGES)
    torch.testing.assert_close(log_odds, embeddings @ weight + 0.25)
    torch.testing.assert_close(read_head(network.head)[0], weight)
    assert read_head(network.head)[1] == 0.25
