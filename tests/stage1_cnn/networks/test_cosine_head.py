"""A head of directions, in networks of every make, in files and as a graph."""

import numpy as np
import pytest
import timm
import torch
from small_task import SIZE, make_settings

from features.core.members import Correction, MemberId
from features.errors import ConfigError
from features.settings.learning import Network
from stage1_cnn.explain.feature_maps import MappedNetwork
from stage1_cnn.graphs.exporting import export_graph
from stage1_cnn.graphs.pixel_graph import PixelGraph
from stage1_cnn.graphs.sessions import open_session, score_pixels
from stage1_cnn.networks.cosine_head import CosineHead
from stage1_cnn.networks.member import Member, load_network, read_member, write_member
from stage1_cnn.networks.network import Classifier, build_network, embed
from stage1_cnn.networks.normalise import build_normaliser

CPU = torch.device("cpu")


def make(model="test_resnet", side=SIZE, **changes):
    network = Network(head="cosine", **changes)
    return make_settings(model=model, image_size=side, network=network)


def test_the_length_of_an_embedding_and_of_a_class_says_nothing():
    head, embeddings = CosineHead(8), torch.randn(5, 8)
    before = head(embeddings)
    with torch.no_grad():
        head.weight.mul_(3)
    torch.testing.assert_close(head(7 * embeddings), before)
    assert (before.abs() <= 10 * (1 + 1e-6)).all()


@pytest.mark.parametrize("model", timm.list_models("test_*"))
def test_it_ends_networks_of_every_make(model):
    network = build_network(make(model, 64)).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        embeddings, log_odds = embed(network, images)
        logits, seen = Classifier(network, torch.float32, embeds=True)(images)
    torch.testing.assert_close(seen, embeddings)
    torch.testing.assert_close(logits.diff(dim=1)[:, 0], log_odds)
    head = network.get_classifier()
    torch.testing.assert_close(head(embeddings / embeddings.norm(dim=1, keepdim=True)), logits)


@pytest.mark.parametrize("model", ["deit_tiny_distilled_patch16_224", "levit_128s"])
def test_networks_with_another_last_layer_are_refused_by_name(model):
    with pytest.raises(ConfigError, match=rf"network\.head cosine: {model} does not end in one"):
        build_network(make(model, 224))


def test_it_comes_back_from_a_file(tmp_path):
    network = build_network(make()).eval()
    identity = MemberId("net", 0, "", "m", Correction(0.0))
    member = Member(identity, make(), 2, 1, 1, 0, 0)
    write_member(network.state_dict(), member, tmp_path)
    again = load_network(tmp_path, read_member(tmp_path, "net", 0))
    images = torch.randn(2, 3, SIZE, SIZE)
    assert torch.equal(again(images), network(images))


def test_a_graph_and_maps_of_it_are_those_of_the_network(tmp_path):
    settings = make(side=64)
    network = build_network(settings).eval()
    normalise = build_normaliser(network, settings, CPU)
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8))
    with torch.inference_mode():
        embeddings, log_odds = embed(network, normalise(pixels))
    path = tmp_path / "network.onnx"
    export_graph(PixelGraph(network, normalise), pixels, path, external_data=False)
    found, seen = score_pixels(open_session(path, threads=1), pixels.numpy())
    np.testing.assert_allclose(found, log_odds, atol=1e-4)
    np.testing.assert_allclose(seen, embeddings, atol=1e-4)
    assert MappedNetwork(network).depends_on_maps(normalise(pixels))
