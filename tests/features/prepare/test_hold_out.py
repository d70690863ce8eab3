"""Columns whose values are held out of train: read with the list, and checked against it."""

from pathlib import Path

import pandas as pd
import pytest

from features.errors import ManifestError
from features.lists.label_file import read_labels
from features.prepare.roles import check_hold_out
from features.settings.data import Data, RoleFiles

FILES = RoleFiles(labels="list.txt", images="pictures")


def test_a_missing_column_to_hold_out_is_told_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("img_name,target,camera\na.jpg,0,c\n")
    with pytest.raises(ManifestError, match=r"no column 'camra'; did you mean camera\?"):
        read_labels(Data(root=str(tmp_path)), FILES, True, ["camra"])


def test_a_column_to_hold_out_may_be_read_for_another_purpose_as_well(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("img_name,target,by\na.jpg,0,\nb.jpg,1,gan\n")
    data = Data(root=str(tmp_path), columns={"generator": "by"}, group_columns=("by",))
    rows = read_labels(data, FILES, True, ["by"]).rows
    for column in ("generator", "group:by", "hold:by"):
        assert rows[column].tolist() == ["", "gan"]


def test_a_value_to_hold_out_that_no_row_has_is_told_with_the_known_ones() -> None:
    rows = pd.DataFrame(
        {"hold:camera": ["b", "a", "b"], "hold:id": [f"{i:02d}" for i in (1, 2, 3)]}
    )
    check_hold_out(rows, {"camera": ("a", "b"), "id": ("01",)})
    with pytest.raises(ManifestError) as caught:
        check_hold_out(rows, {"camera": ("A", "a"), "id": ("1",)})
    assert caught.value.problems == [
        "split.hold_out.camera: no row has 'A'; known: 'a', 'b' (2 values)",
        "split.hold_out.id: no row has '1'; known: '01', '02', '03' (3 values)",
    ]
    many = pd.DataFrame({"hold:id": [f"{i:02d}" for i in range(30)]})
    with pytest.raises(ManifestError, match=r"'00', .* '09' … \(30 values\)"):
        check_hold_out(many, {"id": ("x",)})
