"""The section `dump`: what a backbone overrides, and what cannot be asked for."""

import pytest
import yaml
from made_data import SETTINGS

from features.errors import ConfigError
from features.inputs.settings import check_all_params
from features.settings.scoring import DumpParams, Scoring
from features.settings.sections import apply_overrides, validate_params


def check(model: type[DumpParams], *overrides: str) -> DumpParams:
    return validate_params(model, apply_overrides(yaml.safe_load(SETTINGS), overrides), "params")


def test_without_settings_images_are_scored_as_in_training() -> None:
    assert check(DumpParams).dump.resolve_backbone("small") == Scoring(tta="none", image_size=None)


def test_a_backbone_changes_only_what_it_gives() -> None:
    dump = check(
        DumpParams,
        *("dump.tta=hflip", "dump.image_size=64"),
        *("dump.backbones.large.tta=six", "dump.backbones.small.image_size=null"),
    ).dump
    assert dump.resolve_backbone("large") == Scoring(tta="six", image_size=64)
    assert dump.resolve_backbone("small") == Scoring(tta="hflip", image_size=None)
    assert dump.resolve_backbone("other") == Scoring(tta="hflip", image_size=64)


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("dump.backbones.smal.tta=six", "dump.backbones.smal: unknown; did you mean small?"),
        ("dump.image_size=65", "dump.image_size 65 is above images.size 64"),
        ("dump.backbones.large.image_size=80", "dump.backbones.large.image_size 80 is above"),
        ("dump.tta=flip", "dump.tta: must be 'none', 'hflip' or 'six'"),
        ("dump.engin=torch", "dump.engin: unknown; did you mean engine?"),
        ("dump.backbones.small.engine=torch", "dump.backbones.small.engine: unknown"),
        ("dump.image_size=8", "dump.image_size: must be greater than or equal to 16"),
    ],
)
def test_what_cannot_be_dumped_is_told_with_its_place(override: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_all_params(apply_overrides(yaml.safe_load(SETTINGS), [override]))
    assert any(found.startswith(problem) for found in caught.value.problems)


CROP = "backbones.large.images.mode=crop"


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["dump.crops=4"], "dump.crops 4: no backbone has images.mode crop"),
        ([CROP, "dump.backbones.small.crops=4"], "dump.backbones.small.crops 4: its images.mode is "
         "square"),
        ([CROP, "dump.image_size=65"], "dump.image_size 65 is above images.size 64"),
        (["images.mode=crops"], "images.mode: must be 'square', 'fit' or 'crop'"),
        (["backbones.small.images.size=64"], "backbones.small.images.size: unknown"),
    ],
)  # fmt: skip
def test_crops_are_for_backbones_that_crop(overrides: list[str], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_all_params(apply_overrides(yaml.safe_load(SETTINGS), overrides))
    assert any(found.startswith(problem) for found in caught.value.problems), caught.value.problems


def test_a_crop_has_any_size_and_whole_and_crops_stand_side_by_side() -> None:
    overrides = [CROP, "backbones.large.image_size=224", "dump.crops=4"]
    overrides += ["dump.backbones.large.image_size=384"]
    params = check_all_params(apply_overrides(yaml.safe_load(SETTINGS), overrides))
    modes = [params.resolve_backbone(name).images.mode for name in ("small", "large")]
    assert modes == ["square", "crop"]
    assert params.resolve_member("large", "crop").image_size == 384


def test_the_stage_alone_knows_the_stores_size_and_the_members_mode() -> None:
    assert check(DumpParams, "dump.backbones.trial.tta=six", "dump.crops=4")
    params = check(DumpParams, "dump.image_size=65")
    assert params.resolve_member("small", "crop").image_size == 65
    with pytest.raises(ConfigError, match=r"above images\.size 64"):
        params.resolve_member("small", "fit")
