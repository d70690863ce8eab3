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


def test_the_stage_alone_knows_of_no_backbones_but_of_the_stores_size() -> None:
    assert check(DumpParams, "dump.backbones.trial.tta=six")
    with pytest.raises(ConfigError, match=r"above images\.size 64"):
        check(DumpParams, "dump.image_size=65")
