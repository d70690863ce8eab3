import logging

import numpy as np
import pytest
import torch
from small_task import SIZE, make_settings
from torch import nn

from features.settings.learning import Network
from stage1_cnn.dump import onnx
from stage1_cnn.dump.onnx import OnnxEngine, choose_engine
from stage1_cnn.networks import normalise
from stage1_cnn.networks.network import build_network
from stage1_cnn.scoring.engines import build_torch_engine
from stage1_cnn.scoring.processes import Processes

CPU = torch.device("cpu")
ALONE = Processes(CPU)
MANY = 10**9


def build(**changes):
    torch.manual_seed(0)
    settings = make_settings(**changes)
    return build_torch_engine(build_network(settings), settings, CPU)


def draw_pixels(count, side=SIZE, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8))


def choose(engine, side=SIZE, asked="auto", images=MANY, processes=ALONE):
    return choose_engine(engine, asked, draw_pixels(5, side), images, processes)


@pytest.mark.parametrize(("kind", "side"), [("rgb", SIZE), ("srm", SIZE), ("rgb+srm", SIZE + 16)])
def test_onnx_runtime_agrees_with_torch_for_batches_of_any_size(kind, side):
    engine = build(network=Network(input=kind))
    faster = choose(engine, side)
    assert isinstance(faster, OnnxEngine)
    for count in (1, 2, 9):
        pixels = draw_pixels(count, side, seed=count)
        before = pixels.clone()
        for found, expected in zip(faster(pixels), engine(pixels), strict=True):
            assert found.dtype == expected.dtype == torch.float32
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        assert torch.equal(pixels, before)


def test_filters_of_a_recorded_graph_are_not_kept():
    engine, pixels = build(network=Network(input="srm")), draw_pixels(2)
    normalise._build_kernels.cache_clear()
    faster = OnnxEngine(engine, pixels)
    torch.testing.assert_close(engine(pixels)[0], faster(pixels)[0], atol=1e-4, rtol=1e-4)


def test_a_transformer_too_and_the_export_says_nothing(capfd, caplog):
    caplog.set_level(logging.INFO)
    assert isinstance(choose(build(model="test_vit")), OnnxEngine)
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_what_cannot_be_exported_is_left_to_torch(monkeypatch, caplog):
    def refuse(*_, **__):
        raise RuntimeError("no such operator: roll\nand much more")

    caplog.set_level(logging.INFO)
    monkeypatch.setattr(onnx, "export_graph", refuse)
    engine = build()
    assert choose(engine) is engine
    (line,) = caplog.messages
    assert line == "torch instead of ONNX Runtime: RuntimeError: no such operator: roll"


class Off:
    """An engine whose scores are off by something."""

    log_odds = embeddings = 0.0

    def __init__(self, engine, pixels):
        self._engine = engine

    def __call__(self, pixels):
        log_odds, embeddings = self._engine(pixels)
        return log_odds + self.log_odds, embeddings + self.embeddings


@pytest.mark.parametrize(
    ("name", "error", "largest", "trusted"),
    [
        ("log_odds", 9e-5, 1.0, True),
        ("log_odds", 2e-4, 1.0, False),
        ("log_odds", 2e-4, 30.0, True),  # as far off as torch itself is from float64 there
        ("log_odds", float("nan"), 1.0, False),
        ("embeddings", 0.1, 1.0, False),
    ],
)
def test_what_disagrees_with_torch_on_the_first_batch_is_not_used(
    monkeypatch, caplog, name, error, largest, trusted
):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(onnx, "OnnxEngine", Off)
    monkeypatch.setattr(Off, name, error)
    engine = build()
    head = [m for m in engine.network.modules() if isinstance(m, nn.Linear)][-1]
    with torch.no_grad():
        scale = largest / engine(draw_pixels(5))[0].abs().max()
        head.weight.mul_(scale)
        head.bias.mul_(scale)
    found = choose(engine)
    assert (found is not engine) == trusted
    assert trusted or f"its {name.replace('_', '-')} are off by" in caplog.messages[0]


@pytest.mark.parametrize(
    ("changes", "asked", "images"),
    [
        ({}, "torch", MANY),
        ({}, "auto", 1000),
        ({"network": Network(precision="bfloat16")}, "auto", MANY),
    ],
    ids=["asked for", "few images", "another precision"],
)
def test_torch_is_taken_without_trying(monkeypatch, changes, asked, images):
    monkeypatch.setattr(onnx, "_try_onnx", None)
    engine = build(**changes)
    assert choose(engine, asked=asked, images=images) is engine


def test_all_processes_take_the_same(monkeypatch):
    class OneFails(Processes):
        def any(self, *flags):
            return [True for _ in flags]

    monkeypatch.setattr(onnx, "OnnxEngine", Off)
    engine = build()
    assert choose(engine, processes=OneFails(CPU)) is engine


def test_a_network_trained_in_bfloat16_is_scored_in_it_with_float32_out():
    exact, rough = build(), build(network=Network(precision="bfloat16"))
    assert "bfloat16" in rough.name
    pixels = draw_pixels(4)
    for found, expected in zip(rough(pixels), exact(pixels), strict=True):
        assert found.dtype == torch.float32
        assert not torch.equal(found, expected)
        torch.testing.assert_close(found, expected, atol=0.05, rtol=0.05)
