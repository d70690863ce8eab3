from types import SimpleNamespace

import pytest
import timm
import torch
from graph_files import MIXING, WIDTH, write_graph
from pydantic import ValidationError
from small_task import make_settings

from features.errors import ConfigError
from features.runtime.budget import BudgetParams
from features.settings.learning import Network
from features.settings.training import Graph, Weights
from stage1_cnn.networks.network import build_network, check_image_size
from stage1_cnn.runtime.budget import count_members, count_parameters, describe_budget

LARGE = ["resnet50", "convnext_tiny", "tf_efficientnet_b4", "vit_small_patch16_224"]


def make(**changes):
    return make_settings(**{"network": Network()} | changes)


@pytest.mark.parametrize("model", [*timm.list_models("test_*"), *LARGE])
def test_the_count_is_that_of_the_real_network(model):
    settings = make(model=model, image_size=64, network=Network(input="rgb+srm"))
    network = build_network(settings)
    assert set(count_parameters(settings)) == {sum(p.numel() for p in network.parameters())}


def test_counting_reads_no_weights_and_draws_no_random_numbers():
    before = torch.get_rng_state()
    count_parameters(make(model="test_resnet", pretrained="gone.safetensors"))
    assert torch.equal(before, torch.get_rng_state())


def test_a_network_is_built_once_to_be_counted_and_checked(monkeypatch):
    settings = make(model="test_vit", image_size=96)
    count = count_parameters(settings)
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: pytest.fail("built again"))
    assert count_parameters(settings.model_copy(update={"seed": 5})) == count
    check_image_size(settings)


def test_position_embeddings_grow_with_the_side():
    sides = [count_parameters(make(model="test_vit", image_size=side)).stored for side in (64, 128)]
    assert sides[0] < sides[1]


def make_params(*models):
    backbones = {f"b{i}": make(model=model) for i, model in enumerate(models)}
    return SimpleNamespace(backbones=backbones, resolve_backbone=backbones.__getitem__)


@pytest.mark.parametrize(
    ("folds", "limit", "line"),
    [
        (
            2,
            200_000_000,
            "2 networks × 2 folds, 102.7 M learned, 102.7 M stored of 200 M (budget.parameters)",
        ),
        (
            4,
            200_000_000,
            "2 networks × 4 folds, 205.3 M learned, 205.3 M stored of 200 M (budget.parameters): "
            "5.3 M above",
        ),
        (
            1,
            None,
            "2 networks × 1 fold, 51.3 M learned, 51.3 M stored, no limit (budget.parameters)",
        ),
    ],
)
def test_all_networks_are_held_against_the_limit(folds, limit, line):
    params = make_params("resnet50", "convnext_tiny")
    assert describe_budget(params, folds, limit) == f"parameters: {line}"


def test_heads_of_frozen_networks_are_no_zero_millions():
    frozen = make(kind="frozen", model="resnet18", pretrained=True)
    params = SimpleNamespace(backbones={"clip": frozen}, resolve_backbone=lambda _: frozen)
    line = describe_budget(params, 4, None)
    assert line.startswith("parameters: 1 network × 4 folds, 2,052 learned, 11.2 M stored")


def test_a_frozen_encoder_counts_once_and_heads_fold_by_fold():
    frozen, learns = (make(kind=kind, model="test_resnet") for kind in ("frozen", "trained"))
    one, four = (count_members([frozen], folds) for folds in (1, 4))
    assert one == count_parameters(frozen)
    assert four.learned == 4 * one.learned
    assert four.stored - one.stored == 3 * (2 * one.learned)  # logits of two classes
    assert count_members([learns], 4) == tuple(4 * own for own in count_parameters(learns))


def test_an_encoder_that_several_backbones_read_counts_once():
    frozen = {"kind": "frozen", "pretrained": "resnet.safetensors"}
    last, inner = make(**frozen), make(**frozen, layer=1)
    both, alone = (
        count_members([last, inner], 2),
        [count_members([own], 2) for own in (last, inner)],
    )
    assert both.learned == sum(own.learned for own in alone)
    heads = 2 * 2 * count_parameters(inner).learned
    assert both.stored == alone[0].stored + heads
    others = [
        make(**frozen | {"pretrained": "other.safetensors"}),
        make(**frozen, model="test_vit"),
        make(**frozen, network=Network(input="srm")),
        make(model="test_resnet", pretrained="resnet.safetensors"),
    ]
    for other in others:
        sums = [count_members([own], 2).stored for own in (last, other)]
        assert count_members([last, other], 2).stored == sum(sums)


def test_an_encoder_whose_size_follows_its_side_counts_for_each_side():
    """Position embeddings."""
    sizes = [make(kind="frozen", model="test_vit", image_size=side) for side in (64, 128)]
    alone = [count_members([own], 1).stored for own in sizes]
    assert count_members(sizes, 1).stored == sum(alone)


def test_outputs_of_one_onnx_file_count_it_once(tmp_path):
    write_graph(tmp_path / "quarters.onnx")
    given = {"kind": "frozen", "model": "quarters.onnx", "weights": Weights(root=str(tmp_path))}
    embeds = make(**given, graph=Graph(output="embeds"))
    maps = make(**given, graph=Graph(output="maps"), pooling="mean")
    assert count_members([embeds], 3).stored == MIXING.size + 3 * 2 * (WIDTH + 1)
    assert count_members([embeds, maps], 3).stored == MIXING.size + 3 * 2 * (WIDTH + 1 + 3 + 1)


def test_a_network_that_cannot_be_built_is_named():
    with pytest.raises(ConfigError, match="resnet50"):
        describe_budget(make_params("resnet5O"), 1, None)


def test_the_section_may_be_missing_and_other_fields_of_folds_are_left_alone():
    params = BudgetParams.model_validate({"folds": {"count": 4, "active": [0, 1]}, "seed": 0})
    assert params.folds.active == [0, 1]
    assert params.budget.parameters == 200_000_000


@pytest.mark.parametrize("section", [{"parameters": 0}, {"parameter": 5}])
def test_wrong_budgets_are_refused(section):
    with pytest.raises(ValidationError):
        BudgetParams.model_validate({"folds": {"active": [0]}, "budget": section})
