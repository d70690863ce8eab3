"""Where data lie: what `params.yaml` may name."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from features.inputs.contents import KnownContents
from features.inputs.run import describe_inputs
from features.settings.data import Data


def test_a_list_may_lie_anywhere(data: Path, tmp_path: Path) -> None:
    (data / "trainset_label.txt").rename(tmp_path / "mine.txt")
    for place in ("../mine.txt", str(tmp_path / "mine.txt")):
        train = {"labels": place, "images": "trainset"}
        assert describe_inputs(
            Data.model_validate({"root": str(data), "train": train}), KnownContents({})
        )["train"]


@pytest.mark.parametrize("images", ["../pictures", "/data/pictures", "a/../../b"])
def test_images_lie_below_the_data_root(images: str) -> None:
    with pytest.raises(ValidationError, match=r"leads outside data\.root: name a folder above"):
        Data.model_validate({"root": "x", "train": {"labels": "list.txt", "images": images}})
