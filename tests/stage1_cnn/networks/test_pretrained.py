import hashlib
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from small_task import make_settings
from timm.models.vision_transformer import VisionTransformer

from features.settings.learning import Network
from features.settings.training import Graph, Weights
from stage1_cnn.networks import pretrained
from stage1_cnn.networks.network import build_network, embed
from stage1_cnn.networks.pretrained import WeightsError, digest_own_file

REAL_WEIGHTS = Path(__file__).parents[4] / "shared" / "weights"
CLOSED = "http://127.0.0.1:9"
REVISION = "0" * 40


def make(**changes):
    return make_settings(**{"network": Network()} | changes)


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """An empty cache, and a hub that nobody answers for; any other connection fails the test."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", CLOSED)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    return tmp_path


@pytest.fixture
def tiny():
    torch.manual_seed(1)
    return timm.create_model("test_resnet").state_dict()


def keep_in_cache(root, name, state):
    """The layout of the hub's cache: a reference, and the snapshot that it names."""
    folder = root / "hub" / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(REVISION)
    snapshot = folder / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    save_file(state, snapshot / "model.safetensors")


def assert_loaded(network, source):
    state = network.state_dict()
    assert all(torch.equal(v, source[k]) for k, v in state.items() if "fc" not in k)
    assert state["fc.weight"].shape[0] == 2


@pytest.mark.parametrize("place", ["own.safetensors", "folder"])
def test_weights_come_from_a_file_or_a_folder(tmp_path, tiny, place):
    (tmp_path / "folder").mkdir()
    for target in ("own.safetensors", "folder/test_resnet.safetensors"):
        save_file(tiny, tmp_path / target)
    settings = make(pretrained=place, weights=Weights(root=str(tmp_path)))
    torch.manual_seed(2)
    assert_loaded(build_network(settings), tiny)


def test_a_kept_file_takes_the_place_of_a_download(offline, tiny):
    save_file(tiny, offline / "test_resnet.safetensors")
    settings = make(pretrained=True, weights=Weights(root=str(offline)))
    assert_loaded(build_network(settings), tiny)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"pretrained": "own.pth"}, "own.pth"),
        ({"pretrained": "folder"}, "folder/test_resnet.safetensors"),
        ({"pretrained": True}, "test_resnet.safetensors"),
        ({"pretrained": True, "model": "timm/test_resnet"}, "test_resnet.safetensors"),
        ({"model": "clip.onnx", "graph": Graph(output="e")}, "clip.onnx"),
        ({"pretrained": False}, None),
        ({"pretrained": "hf-hub:somebody/something"}, None),
    ],
)
def test_another_file_of_the_same_name_has_another_digest(tmp_path, changes, name):
    settings, root = make(**changes, weights=Weights(root=str(tmp_path))), tmp_path
    (root / "folder").mkdir()
    assert digest_own_file(settings) is None
    found = []
    for content in (b"one", b"two"):
        for some in ("own.pth", "folder/test_resnet.safetensors", "test_resnet.safetensors"):
            (root / some).write_bytes(b"another" if some != name else content)
        (root / "clip.onnx").write_bytes(content)
        found.append(digest_own_file(settings))
    digests = [hashlib.sha256(content).hexdigest() for content in (b"one", b"two")]
    assert found == (digests if name else [None, None])


def test_missing_file_is_named(tmp_path):
    settings = make(pretrained="gone.safetensors", weights=Weights(root=str(tmp_path)))
    with pytest.raises(WeightsError, match=r"gone\.safetensors"):
        build_network(settings)


@pytest.mark.fault("given weights that do not fit", "error", "Damaged and foreign files")
@pytest.mark.parametrize("kind", ["other names", "other shapes", "no safetensors", "no pickle"])
def test_weights_of_another_network_are_refused(tmp_path, tiny, kind):
    file = tmp_path / ("own.pth" if kind == "no pickle" else "own.safetensors")
    if kind == "other names":
        save_file({f"encoder.{name}": value for name, value in tiny.items()}, file)
    elif kind == "other shapes":
        save_file({n: v.repeat(2, *[1] * (v.ndim - 1)) for n, v in tiny.items() if v.ndim}, file)
    else:
        file.write_bytes(b"nothing of the kind")
    settings = make(pretrained=file.name, weights=Weights(root=str(tmp_path)))
    reason = "lack .* of the network's tensors" if kind == "other names" else "cannot be loaded"
    with pytest.raises(WeightsError, match=reason):
        build_network(settings)


@pytest.mark.fault(
    "no network where weights are to be downloaded",
    "error at once; it says how to name a file",
    "Settings and surroundings",
)
@pytest.mark.parametrize(
    ("model", "place"),
    [
        ("test_resnet", True),  # on the hub
        ("legacy_seresnet18", True),  # a plain download
        ("test_resnet", "hf-hub:somebody/something"),
    ],
)
@pytest.mark.parametrize("hub_offline", [False, True])
def test_no_network_gives_a_clear_error_at_once(offline, monkeypatch, model, place, hub_offline):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", hub_offline)
    connect = socket.create_connection
    monkeypatch.setattr(
        socket, "create_connection", lambda _, timeout: connect(("127.0.0.1", 9), timeout)
    )
    start = time.monotonic()
    with pytest.raises(WeightsError, match=r"name a file: backbones") as caught:
        build_network(make(model=model, pretrained=place))
    assert time.monotonic() - start < 2  # timm's own retries alone take 46 s
    reason = "HF_HUB_OFFLINE is set" if hub_offline and "legacy" not in model else "be reached"
    assert reason in str(caught.value)
    told = f"put {model}.safetensors into weights.root" in str(caught.value)
    assert told == (place is True)


@pytest.mark.fault("no network where weights are to be downloaded")
def test_a_host_that_never_answers_is_given_up(offline, monkeypatch):
    monkeypatch.setattr(pretrained, "PATIENCE", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(1) or [])
    start = time.monotonic()
    with pytest.raises(WeightsError, match=r"no answer within 0\.2 s"):
        build_network(make(pretrained=True))
    assert time.monotonic() - start < 1.5


def test_a_proxy_or_a_host_that_answers_is_left_to_timm(offline, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        found = pretrained.locate_weights(make(pretrained="hf-hub:a/b@v2"))
    assert found == {"hf_hub_id": "a/b@v2"}
    monkeypatch.setattr(constants, "ENDPOINT", CLOSED)
    monkeypatch.setenv("no_proxy", "localhost")
    with pytest.raises(WeightsError, match="cannot be reached"):
        pretrained.locate_weights(make(pretrained="hf-hub:a/b"))
    monkeypatch.setenv("https_proxy", CLOSED)
    assert pretrained.locate_weights(make(pretrained="hf-hub:a/b")) == {"hf_hub_id": "a/b"}


@pytest.mark.parametrize(
    ("place", "name"), [(True, "timm/test_resnet.r160_in1k"), ("hf-hub:me/mine", "me/mine")]
)
def test_what_is_in_the_cache_needs_no_network(offline, monkeypatch, tiny, place, name):
    keep_in_cache(offline, name, tiny)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("went to the network"))
    assert_loaded(build_network(make(pretrained=place)), tiny)


def test_a_plain_download_that_is_there_needs_no_network(offline):
    config = timm.get_pretrained_cfg("legacy_seresnet18")
    target = offline / "torch" / "checkpoints" / Path(config.url).name
    target.parent.mkdir(parents=True)
    target.touch()
    assert pretrained.locate_weights(make(model="legacy_seresnet18", pretrained=True)) == {}


def test_six_channels_repeat_and_rescale_the_first_layer(tmp_path, tiny):
    save_file(tiny, tmp_path / "own.safetensors")
    root = Weights(root=str(tmp_path))
    network = Network(input="rgb+srm")
    built = build_network(make(pretrained="own.safetensors", weights=root, network=network))
    stem = tiny["conv1.0.weight"]
    torch.testing.assert_close(built.conv1[0].weight.data, torch.cat([stem, stem], dim=1) / 2)


@pytest.mark.parametrize("model", ["test_resnet", "test_efficientnet", "test_vit"])
def test_a_new_head_on_pretrained_features_says_nothing_yet(tmp_path, model):
    save_file(timm.create_model(model).state_dict(), tmp_path / "own.safetensors")
    settings = make(
        model=model,
        pretrained="own.safetensors",
        weights=Weights(root=str(tmp_path)),
        image_size=160,
    )
    network = build_network(settings).eval()
    embeddings, log_odds = embed(network, torch.rand(3, 3, 160, 160))
    assert embeddings.std() > 0
    assert torch.equal(log_odds, torch.zeros(3))
    drawn = build_network(settings.model_copy(update={"pretrained": False})).eval()
    assert embed(drawn, torch.rand(3, 3, 160, 160))[1].abs().min() > 0


@pytest.fixture
def silence() -> Iterator[None]:
    """As of a program that wants to hear nothing."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_what_is_logged_changes_no_network(tmp_path, silence):
    """timm says in its log alone what was missing in a file."""
    test_a_new_head_on_pretrained_features_says_nothing_yet(tmp_path, "test_efficientnet")
    tiny = timm.create_model("test_resnet").state_dict()
    test_weights_of_another_network_are_refused(tmp_path, tiny, "other names")
    assert logging.root.manager.disable == logging.CRITICAL


def test_a_new_head_says_nothing_where_a_network_reads_its_file_by_itself(tmp_path, monkeypatch):
    """As the original weights of ViTs, which timm reads without a word about what they lack."""
    read: list[str] = []
    monkeypatch.setattr(VisionTransformer, "load_pretrained", lambda self, path: read.append(path))
    (tmp_path / "own.npz").touch()
    root = Weights(root=str(tmp_path))
    network = build_network(make(model="test_vit", pretrained="own.npz", weights=root)).eval()
    assert read == [str(tmp_path / "own.npz")]
    assert not embed(network, torch.rand(2, 3, 32, 32))[1].any()


@pytest.mark.real
@pytest.mark.skipif(not REAL_WEIGHTS.is_dir(), reason="needs ../shared/weights")
@pytest.mark.parametrize("kind", ["rgb", "srm", "rgb+srm"])
def test_real_weights_load(kind):
    name = "tf_efficientnet_lite0"
    settings = make(
        model=name,
        pretrained=f"{name}.safetensors",
        weights=Weights(root=str(REAL_WEIGHTS)),
        network=Network(input=kind),
    )
    state = build_network(settings).state_dict()
    source = load_file(REAL_WEIGHTS / f"{name}.safetensors")
    stem = source.pop("conv_stem.weight")
    expected = torch.cat([stem, stem], dim=1) / 2 if kind == "rgb+srm" else stem
    torch.testing.assert_close(state["conv_stem.weight"], expected)
    assert all(torch.equal(state[k], v) for k, v in source.items() if "classifier" not in k)
