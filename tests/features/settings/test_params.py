"""Settings: every problem of the file told at once, and nothing changed that was not asked."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_data import SETTINGS

from features.errors import ConfigError
from features.inputs.settings import AllParams, check_all_params
from features.null_model.settings import NullParams
from features.settings.data import PrepareParams
from features.settings.sections import (
    apply_overrides,
    load_params,
    read_yaml,
    suggest_name,
    validate_params,
)
from features.settings.stacking import StackParams
from features.settings.training import TrainingSections, TrainParams


@pytest.fixture
def values() -> dict[str, Any]:
    return yaml.safe_load(SETTINGS)


def check(*overrides: str) -> AllParams:
    return check_all_params(apply_overrides(yaml.safe_load(SETTINGS), overrides))


def find_problems(*overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check(*overrides)
    return caught.value.problems


@pytest.mark.fault(
    "an unknown key, a wrong type, a value out of range, an unknown network",
    "error before any work; it names the place, and the nearest known name",
    "Settings and surroundings",
)
@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("schedule.epoch=3", "schedule.epoch: unknown; did you mean epochs?"),
        ("data.clumns={}", "data.clumns: unknown; did you mean columns?"),
        ("data.train.label=x", "data.train.label: unknown; did you mean labels?"),
        ("data.val.image=x", "data.val.image: unknown; did you mean images?"),
        ("optimiser={}", "optimiser: unknown; did you mean optimizer?"),
        ("backbones.small.modle=x", "backbones.small.modle: unknown; did you mean model?"),
        (
            "backbones.large.optimizer.learning_rate=1",
            "backbones.large.optimizer.learning_rate: unknown; known: backbone_lr_scale, "
            "clip_grad, clip_mode, frozen_epochs, layer_decay, lora_alpha, lora_layers, lora_rank, "
            "lr, momentum, name, tune, weight_decay",
        ),
        (
            "backbones.large.schedule.epoch=1",
            "backbones.large.schedule.epoch: unknown; did you mean epochs?",
        ),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(override: str, problem: str) -> None:
    assert problem in find_problems(override)


@pytest.mark.fault("an unknown key, a wrong type, a value out of range, an unknown network")
@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("optimizer.lr=-1", "optimizer.lr: must be greater than 0, found -1"),
        ("optimizer.lr=fast", "optimizer.lr: must be a number"),
        ("optimizer.lr=.nan", "optimizer.lr: must be a finite number, found nan"),
        ("optimizer.lr=.inf", "optimizer.lr: must be a finite number, found inf"),
        ("optimizer.lr=1e400", "optimizer.lr: must be a finite number, found '1e400'"),
        ("data.max_aspect=.inf", "data.max_aspect: must be a finite number, found inf"),
        ("gate.margin=-.inf", "gate.margin: must be a finite number, found -inf"),
        ("perturb.noise=[.nan]", "perturb.noise.0: must be a finite number, found nan"),
        (
            "ema=null",
            "ema: must be a section, such as {key: value}; {} has the defaults, f",
        ),
        ("backbones=[resnet18]", "backbones: must be a mapping, such as {name: value}, found ['re"),
        ("folds.active=0", "folds.active: must be a list, such as [value], found 0"),
        ("images.equalize=maybe", "images.equalize: must be true or false, found 'maybe'"),
        ("images.store_dir=3", "images.store_dir: must be text, found 3"),
        ("schedule.batch_size=1", "schedule.batch_size: must be greater than or equal"),
        ("schedule.epochs=1.5", "schedule.epochs: must be a whole number"),
        ("sampling.mode=random", "sampling.mode: must be 'balanced', 'natural'"),
        ("augment.hflip=2", "augment.hflip: must be less than or equal to 1, found 2"),
        ("loss.label_smoothing=1", "loss.label_smoothing: must be less than 1"),
        ("seed=null", "seed: must be a whole number, found null"),
        ("seed=2147483648", "seed: must be less than or equal to 2147483647, found 2147483648"),
        ("data=null", "data: must be a section, such as {key: value}"),
        ("images.size=8", "images.size: must be greater than or equal to 16, found 8"),
        ("backbones={}", "backbones and outside are both empty: there is nobody to score pictures"),
        ("data.classes={real: ['0'], fake: ['0']}", "data.classes: targets stand for both"),
        ("folds.active=[3]", "folds: active folds are 0..2, found [3]"),
        ("folds.active=[]", "folds: active must name each fold once"),
        ("folds.active=[1, 1]", "folds: active must name each fold once"),
        ("folds.active=[-1]", "folds.active.0: must be greater than or equal to 0"),
        ("folds.count=1", "folds.count: must be greater than or equal to 2"),
        ("split.blend_from_val=0.5", "split.blend_from_val needs exactly one fold"),
    ],
)
def test_a_bad_value_is_told_with_its_place(override: str, problem: str) -> None:
    assert any(found.startswith(problem) for found in find_problems(override))


@pytest.mark.parametrize("name", ["a.b", "ResNet", "a b", "é", ""])
def test_a_backbone_key_that_dvc_cannot_split_is_refused(values: dict[str, Any], name: str) -> None:
    values["backbones"][name] = {"model": "test_resnet"}
    with pytest.raises(ConfigError, match=r"String should match pattern") as caught:
        check_all_params(values)
    assert all(found.startswith(f"backbones.{name}") for found in caught.value.problems)


@pytest.mark.parametrize("section", [*yaml.safe_load(SETTINGS)])
def test_a_missing_section_is_told(values: dict[str, Any], section: str) -> None:
    del values[section]
    with pytest.raises(ConfigError) as caught:
        check_all_params(values)
    assert caught.value.problems == [f"{section}: missing"]


def test_all_problems_are_told_at_once() -> None:
    overrides = [
        *("schedule.epoch=3", "optimizer.lr=-1", "optimiser={}", "folds.active=[7]"),
        *("backbones.large.schedule.epochs=0", "backbones.small.augment.hflp=1"),
    ]
    assert len(find_problems(*overrides)) == 6
    with pytest.raises(ConfigError, match=r"params\.yaml: 6 problems"):
        check(*overrides)


@pytest.mark.parametrize("text", ["1e-3", "1.0e-3", "0.001", "'1e-3'"])
def test_a_small_number_may_be_written_in_any_way(text: str) -> None:
    settings = check(f"optimizer.lr={text}", f"backbones.small.optimizer.lr={text}")
    assert settings.optimizer.lr == 0.001
    assert settings.resolve_backbone("small").optimizer.lr == 0.001


def test_a_backbone_changes_only_what_it_gives() -> None:
    settings = check()
    small, large = (settings.resolve_backbone(name) for name in ("small", "large"))
    for section in TrainingSections.model_fields:
        own, common = (getattr(found, section).model_dump() for found in (small, settings))
        assert own.items() <= common.items()
    assert large.schedule == settings.schedule.model_copy(update={"epochs": 12})
    assert large.optimizer == settings.optimizer.model_copy(update={"lr": 5e-4})
    for section in ("sampling", "loss", "ema", "augment"):
        assert getattr(large, section) == getattr(settings, section)
    assert (small.image_size, small.model, large.model) == (64, "test_resnet", "test_efficientnet")


def test_a_backbone_may_give_the_default_against_a_global_value() -> None:
    settings = check("backbones.small.loss.label_smoothing=0.0")
    assert settings.resolve_backbone("small").loss.label_smoothing == 0.0
    assert settings.resolve_backbone("large").loss.label_smoothing == 0.1


def test_an_unknown_backbone_names_the_nearest_known_one() -> None:
    with pytest.raises(ConfigError, match=r"backbones\.smal: unknown; did you mean small\?"):
        check().resolve_backbone("smal")


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["ema.half_life_epochs=2"], ""),
        (["ema.half_life_epochs=2.1"], "(backbone small)"),
        (["ema.half_life_epochs=4.1"], "(backbone large)"),
        (["backbones.large.schedule.epochs=1"], "(backbone large)"),
        (["ema.half_life_epochs=4", "backbones.small.ema.half_life_epochs=1"], ""),
    ],
)
def test_the_average_forgets_the_untrained_weights(overrides: list[str], problem: str) -> None:
    if not problem:
        check(*overrides)
        return
    found = find_problems(*overrides)
    assert all("ema.half_life_epochs" in line for line in found)
    assert [line for line in found if problem in line]


def test_weights_are_averaged_over_trainings_from_one_pretrained_start_alone() -> None:
    asked = "backbones.small.schedule.soup=3"
    (problem,) = find_problems(asked)
    assert problem.startswith("schedule.soup 3: networks that begin at random weights go ways")
    assert problem.endswith("(backbone small)")
    settings = check(asked, "backbones.small.pretrained=true")
    assert settings.resolve_backbone("small").schedule.soup == 3
    assert settings.resolve_backbone("large").schedule.soup == 1


@pytest.mark.parametrize(
    ("overrides", "backbones"),
    [
        (["optimizer.frozen_epochs=5.9"], []),
        (["optimizer.frozen_epochs=6"], ["small"]),  # large trains for 12 epochs
        (["optimizer.tune=head", "optimizer.frozen_epochs=1"], ["small", "large"]),
    ],
)
def test_a_frozen_start_ends(overrides: list[str], backbones: list[str]) -> None:
    if not backbones:
        check(*overrides)
        return
    found = find_problems(*overrides)
    assert all("optimizer.tune head" in line for line in found)
    assert [line.rpartition("(")[2] for line in found] == [f"backbone {b})" for b in backbones]


@pytest.mark.parametrize(("size", "fits"), [(64, True), (65, False)])
def test_no_backbone_asks_for_more_pixels_than_the_store_holds(size: int, fits: bool) -> None:
    override = f"backbones.small.image_size={size}"
    if fits:
        assert check(override).resolve_backbone("small").image_size == 64
        return
    (found,) = find_problems(override)
    assert found.startswith("backbones.small.image_size 65 is above images.size 64")


def test_overrides_set_values_and_leave_the_original_alone(values: dict[str, Any]) -> None:
    before = copy.deepcopy(values)
    changed = apply_overrides(
        values,
        [
            "seed=7",
            "folds.active=[1]",
            "backbones.new.model=x",
            "data.val=null",
            "weights.root=a=b",
        ],
    )
    assert values == before
    assert changed["seed"] == 7
    assert changed["folds"] == {"count": 3, "active": [1]}
    assert changed["backbones"]["new"] == {"model": "x"}
    assert changed["data"] == {"root": "data/demo", "val": None}
    assert changed["weights"] == {"root": "a=b"}


def test_an_override_may_fill_a_section_that_is_null() -> None:
    assert apply_overrides({"data": {"val": None}}, ["data.val.labels=x"]) == {
        "data": {"val": {"labels": "x"}}
    }


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("seed", "'seed' is not of the form a.b=value"),
        ("=3", "'=3' is not of the form a.b=value"),
        ("seed.a=3", "seed.a: seed is 0, not a section"),
        ("folds.active.0=3", "folds.active.0: active is [0, 2], not a section"),
        ("seed=[1", "no valid YAML"),
        ("seed=2024-13-01", "no valid YAML"),
    ],
)
def test_an_override_of_another_form_is_told(override: str, problem: str) -> None:
    with pytest.raises(ConfigError, match="--set") as caught:
        check(override)
    assert caught.value.problems[0].startswith(problem)


NINE = [b", ".join([b"*a%d" % (i - 1)] * 9) for i in range(9)]
LAUGHS = b"a0: &a0 [1]\n" + b"".join(b"a%d: &a%d [%s]\n" % (i, i, NINE[i]) for i in range(1, 9))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a: [1", "no valid YAML"),
        (b"a: \xff\xfe", "no valid YAML"),
        (b"a: 2024-13-01", "no valid YAML"),
        (b"", "the top level must be a mapping"),
        (b"a: 1\nb: 2\na: 3\n", "line 3: a stands in line 1 already"),
        (b"a: {x: 1,\n x: 2}", "line 2: x stands in line 1 already"),
        (b"a: &a [*a]", "line 1: it holds itself"),
        (b"[" * 5000, "it is nested too deeply"),
        (b"a: " + b"{a: " * 5000, "it is nested too deeply"),
        (b"a: " + b"x" * (4 << 20), "it has 4,194,307 bytes, more than 4,194,304"),
        (LAUGHS, "its aliases (*name) make more than 200,000 values of it"),
        (b"- a\n", "the top level must be a mapping"),
        (b"!!python/object/apply:os.system ['true']", "no valid YAML"),
    ],
)
def test_a_file_that_is_no_mapping_is_told(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"params\.yaml") as caught:
        read_yaml(path)
    assert caught.value.problems[0].startswith(problem)


def test_an_alias_may_repeat_a_section(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}\n")
    assert read_yaml(path) == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}


def test_a_long_value_is_cut_in_the_message() -> None:
    (problem,) = find_problems(f"optimizer.lr={'x' * 10_000}")
    assert len(problem) < 200


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    places = ("images.store_dir", "data.root", "data.label_overrides", "weights.root", "resume_dir")
    params = check(*(f"{place}=~/x" for place in places))
    assert {
        *(params.images.store_dir, params.data.root, params.data.label_overrides),
        *(params.weights.root, params.resume_dir),
    } == {"/home/me/x"}


def test_a_missing_file_tells_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"presets/\*\.yaml") as caught:
        read_yaml()
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("model", [PrepareParams, TrainParams])
def test_a_stage_minds_its_own_sections_alone(tmp_path: Path, model: Any) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(SETTINGS.replace("stack: {}", "stack: {typo: 1}"))
    assert load_params(model, ["seed=4"], path).seed == 4
    path.write_text(SETTINGS.replace("data: {root: data/demo}", ""))
    with pytest.raises(ConfigError, match="data: missing"):
        load_params(model, None, path)


def test_settings_cannot_be_changed_after_the_check() -> None:
    with pytest.raises(ValueError, match="frozen"):
        check().seed = 3


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("epoch", ["epochs", "lr"], "; did you mean epochs?"),
        ("zzz", ["b", "a"], "; known: a, b"),
        ("x", [], ""),
    ],
)
def test_a_hint_names_the_nearest_or_all(name: str, known: list[str], hint: str) -> None:
    assert suggest_name(name, known) == hint


def test_a_network_may_ask_for_its_own_size() -> None:
    params = check("backbones.small.image_size=own")
    settings = params.resolve_backbone("small")
    assert (settings.image_size, settings.own_size) == (64, True)
    assert not params.resolve_backbone("large").own_size


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["loss={kind: focal}", "augment.mixup=0.5"], "cannot learn from mixed labels"),
        (["loss={kind: class_mean}", "augment.cutmix=0.1"], "cannot learn from mixed labels"),
        (["loss={kind: logit_adjusted}"], "draws both classes alike"),
        (["loss={kind: logit_adjusted, class_weight: 1}"], "draws both classes alike"),
        (["backbones.small.ema.decay=0.9"], "set one to null"),
        (["augment={mixup: 0.7, cutmix: 0.7}"], "add up to above 1"),
        (["augment.jpeg_quality=[90, 50]"], "the lower bound 90 is above the upper one 50"),
    ],
)
def test_sections_that_cannot_be_had_together_are_told(overrides: list[str], problem: str) -> None:
    assert any(problem in found for found in find_problems(*overrides))
    assert check("loss={kind: logit_adjusted}", "sampling.mode=natural")
    assert check("loss={kind: logit_adjusted, class_weight: 2}")


FROZEN = "backbones.small={kind: frozen, model: test_vit, pretrained: true}"


def test_a_frozen_network_takes_over_no_setting_of_how_weights_change() -> None:
    settings = check(
        FROZEN, "augment.self_blend=0.5", "loss.kind=focal", "loss.label_smoothing=0",
        "network.dropout=0.5", "network.input=srm", "sampling.mode=natural",
    )  # fmt: skip
    small, large = (settings.resolve_backbone(name) for name in ("small", "large"))
    assert (large.augment.self_blend, large.loss.kind, large.network.dropout) == (0.5, "focal", 0.5)
    assert (small.augment.self_blend, small.loss.kind) == (0, "cross_entropy")
    assert small.network.dropout == 0
    assert (small.network.input, small.sampling.mode) == ("srm", "natural")


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        (
            "backbones.small.loss.kind=focal",
            "loss: a frozen network has no use for it, take it out",
        ),
        ("backbones.small.augment.hflip=0", "augment: a frozen network has no use for it"),
        ("backbones.small.network.dropout=0", "network.dropout: a frozen network has no use for"),
        ("backbones.small.sampling.pairs=true", "sampling.pairs: a frozen network has no use for"),
        ("backbones.small.pretrained=false", "pretrained false: a frozen network that has learned"),
        ("backbones.large.pooling=mean", "pooling: a trained network has no use for it, take it"),
        ("backbones.large.layer=2", "layer: a trained network has no use for it, take it out or"),
    ],
)
def test_what_a_kind_of_network_has_no_use_for_is_told(override: str, problem: str) -> None:
    assert any(problem in found for found in find_problems(FROZEN, override))


ONNX = "backbones.small={kind: frozen, model: clip.onnx, graph: {output: embeds}}"


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("backbones.small.kind=trained", "model clip.onnx: an ONNX file cannot be trained"),
        ("backbones.small.graph=null", "graph: model clip.onnx needs it, and its output at least"),
        ("backbones.small.model=test_vit", "graph is a matter of ONNX files, and model test_vit"),
        ("backbones.small.pretrained=true", "pretrained: an ONNX file holds its weights, take it"),
        ("backbones.small.layer=1", "layer: of an ONNX file an inner layer is another graph.out"),
        ("network.input=srm", "network.input srm: an ONNX file sees colours, set it to rgb"),
        (
            "backbones.small.graph={output: e, dtype: uint8, mean: [0.5, 0.5, 0.5]}",
            "graph.mean and graph.std: grey levels of uint8 are given as they are",
        ),
    ],
)
def test_what_an_onnx_file_cannot_have_is_told(override: str, problem: str) -> None:
    check(ONNX)
    assert any(problem in found for found in find_problems(ONNX, override))


@pytest.mark.parametrize("model", [PrepareParams, TrainParams, StackParams, NullParams])
def test_every_stage_refuses_a_seed_that_its_libraries_do_not_take(model: Any) -> None:
    values = yaml.safe_load(SETTINGS) | {"seed": 2**31}
    with pytest.raises(ConfigError, match="seed: must be less than or equal to 2147483647"):
        validate_params(model, values, "params.yaml")
