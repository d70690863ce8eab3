import subprocess
import sys
import time
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from small_task import make_settings

from features.errors import ConfigError
from features.train_params import Weights
from stage1_cnn.network import WeightsError, build_network, embed, get_normalisation, pick_device

REAL_WEIGHTS = Path(__file__).parents[3] / "shared" / "weights"


def test_unknown_network_names_the_nearest_known_one():
    with pytest.raises(ConfigError, match="resnet50"):
        build_network(make_settings(model="resnet5O"))


@pytest.mark.parametrize("model", ["test_resnet", "test_vit", "test_convnext"])
def test_log_odds_are_those_of_the_networks_own_head(model):
    network = build_network(make_settings(model=model, image_size=64)).eval()
    images = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        embeddings, log_odds = embed(network, images)
        logits = network(images)
    assert embeddings.shape == (3, network.num_features)
    torch.testing.assert_close(log_odds, torch.log_softmax(logits, 1).diff(dim=1)[:, 0])


@pytest.mark.parametrize("place", ["own.safetensors", "folder"])
def test_pretrained_weights_come_from_a_file_or_a_folder(tmp_path, place):
    torch.manual_seed(1)
    source = timm.create_model("test_resnet").state_dict()
    (tmp_path / "folder").mkdir()
    for target in ("own.safetensors", "folder/test_resnet.safetensors"):
        save_file(source, tmp_path / target)
    settings = make_settings(pretrained=place, weights=Weights(root=str(tmp_path)))
    torch.manual_seed(2)
    loaded = build_network(settings).state_dict()
    same = [name for name in loaded if "fc" not in name]
    assert all(torch.equal(loaded[name], source[name]) for name in same)
    assert loaded["fc.weight"].shape[0] == 2


def test_missing_weights_file_is_named(tmp_path):
    settings = make_settings(pretrained="gone.safetensors", weights=Weights(root=str(tmp_path)))
    with pytest.raises(WeightsError, match=r"gone\.safetensors"):
        build_network(settings)


def test_weights_of_another_network_are_refused(tmp_path):
    save_file(timm.create_model("test_efficientnet").state_dict(), tmp_path / "other.safetensors")
    settings = make_settings(pretrained="other.safetensors", weights=Weights(root=str(tmp_path)))
    with pytest.raises(WeightsError):
        build_network(settings)


@pytest.mark.parametrize("pretrained", ["True", "'hf-hub:timm/resnet18.a1_in1k'"])
def test_no_network_gives_a_clear_error_at_once(pretrained):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from small_task import make_settings\n"
        "from stage1_cnn.network import *\n"
        f"try: build_network(make_settings(model='resnet18', pretrained={pretrained}))\n"
        "except WeightsError as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent)]
    start = time.monotonic()
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=Path(__file__).parents[2],
        env={"HF_HUB_OFFLINE": "1", "PATH": "", "HOME": "/nonexistent"}, timeout=60,
    )  # fmt: skip
    assert "name a file: backbones.NAME.pretrained" in done.stdout, done.stderr
    assert time.monotonic() - start < 40  # timm's own retries alone take 46 s


def test_normalisation_is_the_networks_own():
    network = build_network(make_settings(model="tf_efficientnet_lite0"))
    assert get_normalisation(network) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_asking_for_a_device_that_is_not_there(monkeypatch):
    monkeypatch.setenv("FORGERYSTACK_DEVICE", "tpu9000")
    with pytest.raises(ConfigError, match="tpu9000"):
        pick_device()
    monkeypatch.setenv("FORGERYSTACK_DEVICE", "cuda")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="no CUDA"):
            pick_device()
    monkeypatch.setenv("FORGERYSTACK_DEVICE", "cpu")
    assert pick_device().type == "cpu"


@pytest.mark.real
@pytest.mark.skipif(not REAL_WEIGHTS.is_dir(), reason="needs ../shared/weights")
def test_real_weights_load():
    settings = make_settings(
        model="tf_efficientnet_lite0",
        pretrained="tf_efficientnet_lite0.safetensors",
        weights=Weights(root=str(REAL_WEIGHTS)),
    )
    torch.manual_seed(0)
    fresh = build_network(settings, load=False)
    loaded = build_network(settings)
    assert not torch.equal(fresh.conv_stem.weight, loaded.conv_stem.weight)
