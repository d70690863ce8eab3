"""Encoders that are ONNX files: checked against settings, and run as they say."""

import numpy as np
import pytest
import torch
from graph_files import MIXING, write_graph
from small_task import make_settings

from features.core.members import Correction, MemberId
from features.errors import ConfigError
from features.settings.images import Geometry
from features.settings.training import Graph, Weights
from stage1_cnn.networks.member import Member, load_network, write_member
from stage1_cnn.networks.network import build_network, check_image_size, settle_network
from stage1_cnn.runtime.budget import count_parameters
from stage1_cnn.scoring.engines import build_torch_engine

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
PIXELS = np.random.default_rng(1).integers(0, 256, (5, 32, 32, 3), np.uint8)


def choose(folder, **changes):
    graph = Graph(**{"output": "embeds", "mean": MEAN, "std": STD} | changes.pop("graph", {}))
    values = {"model": "quarters.onnx", "weights": Weights(root=str(folder)), "graph": graph}
    return make_settings(kind="frozen", **(values | changes))


def embed(settings):
    settings = settle_network(settings)
    engine = build_torch_engine(build_network(settings), settings, torch.device("cpu"))
    return engine(torch.from_numpy(PIXELS))[1].numpy()


def measure_quarters(mean=MEAN, std=STD):
    """`(b, 3, 2, 2)`, by hand."""
    scaled = (PIXELS / 255 - mean) / std
    return scaled.reshape(5, 2, 16, 2, 16, 3).mean((2, 4)).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
@pytest.mark.parametrize("batch", ["batch", 1])
def test_pixels_come_as_the_settings_say(tmp_path, layout, dtype, batch):
    write_graph(tmp_path / "quarters.onnx", layout, dtype, batch=batch)
    scale = {"mean": (0, 0, 0), "std": (1, 1, 1)} if dtype == "uint8" else {}
    wanted = measure_quarters()
    if dtype == "uint8":
        wanted = 255 * measure_quarters((0, 0, 0), (1, 1, 1))
    found = embed(choose(tmp_path, graph={"layout": layout, "dtype": dtype, **scale}))
    tolerance = {"rtol": 5e-3, "atol": 2e-2} if dtype == "float16" else {"rtol": 1e-4, "atol": 1e-4}
    np.testing.assert_allclose(found, wanted.reshape(5, 12) @ MIXING, **tolerance)


@pytest.mark.parametrize(
    ("output", "pooling", "pick"),
    [
        ("maps", "mean", lambda maps: maps.mean((2, 3))),
        ("maps", "max", lambda maps: maps.max((2, 3))),
        ("tokens", "token", lambda maps: maps.max((2, 3))),
        ("tokens", "mean", lambda maps: maps.mean((2, 3))),
    ],
)
def test_places_are_pooled(tmp_path, output, pooling, pick):
    write_graph(tmp_path / "quarters.onnx")
    found = embed(choose(tmp_path, graph={"output": output}, pooling=pooling))
    np.testing.assert_allclose(found, pick(measure_quarters()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        ({"graph": {"output": "embed"}}, ["graph.output embed: it has no such output; did you"]),
        ({"graph": {"layout": "NHWC"}}, ["graph.layout NHWC: it takes (?, 3, 32, 32)"]),
        ({"graph": {"dtype": "uint8"}}, ["graph.dtype uint8: it takes float32"]),
        ({"image_size": 48}, ["image_size 48: it takes 32 pixels"]),
        ({"pooling": "mean"}, ["pooling mean: embeds (?, 12) is pooled already"]),
        ({"graph": {"output": "tokens"}}, ["pooling: tokens (?, 5, 3) has places"]),
        ({"graph": {"output": "maps"}, "pooling": "token"}, ["pooling token: maps (?, 3, 2, 2)"]),
        (
            {"graph": {"output": "x", "dtype": "float16"}, "image_size": 64},
            ["graph.output x", "graph.dtype float16", "image_size 64"],
        ),
        ({"model": "other.onnx"}, ["there is no file"]),
    ],
)  # fmt: skip
def test_all_that_does_not_fit_the_file_is_told_at_once(tmp_path, changes, problems):
    write_graph(tmp_path / "quarters.onnx")
    with pytest.raises(ConfigError) as caught:
        settle_network(choose(tmp_path, **changes))
    assert len(caught.value.problems) == len(problems)
    for problem in problems:
        assert any(problem in found for found in caught.value.problems)


def test_a_picture_does_not_depend_on_those_beside_it_though_its_batch_is_quantised(tmp_path):
    write_graph(tmp_path / "quarters.onnx", quantised=True)
    settings = settle_network(choose(tmp_path))
    engine = build_torch_engine(build_network(settings), settings, torch.device("cpu"))
    dark = np.concatenate([PIXELS[:1], np.zeros_like(PIXELS)])
    alone, beside = (engine(torch.from_numpy(pixels))[1][0] for pixels in (PIXELS[:1], dark))
    torch.testing.assert_close(alone, beside, rtol=0, atol=0)


def test_what_is_no_graph_is_told(tmp_path):
    (tmp_path / "quarters.onnx").write_bytes(b"no graph")
    with pytest.raises(ConfigError, match="ONNX Runtime cannot load it"):
        settle_network(choose(tmp_path))


def test_its_own_size_is_that_of_the_graph(tmp_path):
    write_graph(tmp_path / "quarters.onnx")
    settings = settle_network(choose(tmp_path, image_size=64, own_size=True))
    assert (settings.image_size, settings.width, settings.own_size) == (32, 12, False)
    with pytest.raises(ConfigError, match="it sees 32 pixels, and"):
        settle_network(choose(tmp_path, image_size=24, own_size=True))
    crops = choose(tmp_path, image_size=24, own_size=True, images=Geometry(mode="crop"))
    assert settle_network(crops).image_size == 32


def test_a_member_holds_the_file_and_needs_it_no_more(tmp_path):
    write_graph(tmp_path / "quarters.onnx")
    settings = settle_network(choose(tmp_path))
    check_image_size(settings)
    assert count_parameters(settings) == (2 * 13 + MIXING.size, 13)  # of the head, of the file
    network = build_network(settings)
    member = Member(MemberId("net", 0, "", "", Correction()), settings, 1, 1, 0, 26, 13)
    written = write_member(network.state_dict(), member, tmp_path / "member")
    (tmp_path / "quarters.onnx").unlink()
    again = load_network(tmp_path / "member", written)
    engine = build_torch_engine(again, settings, torch.device("cpu"))
    found = engine(torch.from_numpy(PIXELS))[1].numpy()
    wanted = measure_quarters().reshape(5, 12) @ MIXING
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
