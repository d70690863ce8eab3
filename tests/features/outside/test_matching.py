"""Names of a table of scores, and the rows that they mean."""

import numpy as np
import pytest
from made_data import make_manifest

from features.core.manifest import Manifest
from features.lists.csv_blocks import Problems
from features.outside.matching import Matches, match_rows


@pytest.fixture
def manifests() -> dict[str, Manifest]:
    """Paths are `train/train0.png`, `val/val0.png`, …; `same.png` is a name of both."""
    names = {role: [f"{role}{i}.png" for i in range(2)] + ["same.png"] for role in ("train", "val")}
    return {role: make_manifest(role, [0, 1, 0], img_name=own) for role, own in names.items()}


def match(manifests, names, scores=None, problems=None) -> Matches:
    values = np.full(len(names), 0.5) if scores is None else np.array(scores)
    lines = np.arange(2, len(names) + 2)
    return match_rows(names, lines, values, manifests, problems or Problems())


@pytest.mark.parametrize(
    "name",
    [
        "val1.png",
        "val/val1.png",
        "VAL1.PNG",
        "val1",
        r"C:\data\val\val1.png",
        "/kaggle/in/val1.png",
    ],
)
def test_a_name_in_its_forms(manifests, name):
    found = match(manifests, [name])
    assert found.places["val"].tolist() == [-1, 0, -1]
    assert found.places["train"].tolist() == [-1, -1, -1]
    assert found.loose == (name not in ("val1.png", "val/val1.png"))


def test_a_name_of_two_roles_needs_its_folder(manifests):
    problems = Problems()
    match(manifests, ["same.png", "val/val2.png"], problems=problems)
    text = "line 2: 'same.png' may mean 'train/train2.png' or 'val/val2.png': write which"
    assert problems.list_texts() == [text]


def test_one_picture_in_two_lists_has_one_score(manifests):
    manifests["val"].table.loc[1, "path"] = "train/train1.png"
    places = match(manifests, ["train/train1.png"]).places
    assert (places["train"][1], places["val"][1]) == (0, 0)


def test_a_second_score_must_be_the_first(manifests):
    problems = Problems()
    names = ["val0.png", "val/val0.png", "VAL0.png", "train0.png", "train0.png"]
    found = match(manifests, names, [0.5, 0.5, 0.6, np.nan, np.nan], problems)
    assert found.repeated == 2
    assert problems.list_texts() == [
        "line 4: 'VAL0.png' has another score than its picture in line 2"
    ]


def test_names_that_no_row_has_are_counted(manifests):
    found = match(manifests, ["val0.png", "other.png", ""])
    assert found.strange == ["other.png", ""]
