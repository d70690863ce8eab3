import pytest
import timm
from small_task import make_settings
from timm.models import get_deprecated_models

from features.errors import ConfigError
from features.settings.learning import Network
from stage1_cnn.networks.model_names import resolve_model_name
from stage1_cnn.networks.network import build_on_meta, check_image_size, settle_network
from stage1_cnn.networks.pretrained import WeightsError, locate_weights


@pytest.mark.parametrize(
    ("name", "today"),
    [
        ("resnet50", "resnet50"),
        ("resnet50.a1_in1k", "resnet50.a1_in1k"),
        ("timm/resnet50.a1_in1k", "resnet50.a1_in1k"),
        ("hf-hub:timm/resnet50.a1_in1k", "resnet50.a1_in1k"),
        ("hf_hub:timm/resnet50", "resnet50"),
        ("xception", "legacy_xception"),
        ("tf_efficientnet_b4_ns", "tf_efficientnet_b4.ns_jft_in1k"),
        ("timm/tf_efficientnet_b4_ns", "tf_efficientnet_b4.ns_jft_in1k"),
    ],
)
def test_a_name_is_that_of_today(name, today):
    assert resolve_model_name(name) == today
    assert resolve_model_name(today) == today


def test_every_old_name_has_a_known_size_or_is_refused():
    weights = set(timm.list_pretrained())
    for name, today in get_deprecated_models().items():
        if "." in today and today not in weights:
            with pytest.raises(ConfigError, match="timm has no weights"):
                resolve_model_name(name)
        else:
            assert timm.get_pretrained_cfg(resolve_model_name(name)) is not None


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("resnet5O", "resnet50"),
        ("timm/resnet5O.a1_in1k", "resnet50"),
        ("hf-hub:timm/resnet50.a1_in2k", "resnet50.a1_in1k"),
        ("tf_efficientnet_b4_ns.in1k", "tf_efficientnet_b4"),
        ("somebody/network", "timm.list_models"),
    ],
)
def test_an_unknown_name_is_answered_in_a_line_with_the_nearest(name, nearest):
    with pytest.raises(ConfigError) as caught:
        resolve_model_name(name)
    assert nearest in str(caught.value)
    assert len(str(caught.value)) < 300


def test_an_old_name_has_the_size_of_the_network_that_it_stands_for():
    settled = settle_network(make_settings(model="xception", image_size=400, own_size=True))
    assert (settled.model, settled.image_size) == ("legacy_xception", 299)


def test_a_network_of_fixed_size_is_built_for_its_images_by_an_old_name_too():
    old = make_settings(model="vit_tiny_patch16_224_in21k", image_size=96, network=Network())
    check_image_size(old)
    assert build_on_meta(old).patch_embed.img_size == (96, 96)


def test_weights_of_an_old_name_are_looked_for_where_todays_lie(monkeypatch):
    monkeypatch.setattr("stage1_cnn.networks.pretrained.constants.HF_HUB_OFFLINE", True)
    settings = settle_network(make_settings(model="tf_efficientnet_b4_ns", pretrained=True))
    with pytest.raises(WeightsError, match=r"timm/tf_efficientnet_b4\.ns_jft_in1k is not in"):
        locate_weights(settings)
