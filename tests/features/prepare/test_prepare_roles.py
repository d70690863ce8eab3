"""How `prepare` deals rows out to roles and folds: carved val, calibration rows, blends."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_data import deal_roles, make_rows, prepare_params, write_data

from features.core.manifest import ROLES, Manifest, read_manifest
from features.errors import ManifestError
from features.prepare.run import run


def split(
    train: pd.DataFrame, val: pd.DataFrame | None, **sections: dict[str, Any]
) -> dict[str, pd.DataFrame]:
    tables = {"train": train} if val is None else {"train": train, "val": val}
    return deal_roles(tables, prepare_params(Path("data"), **sections))


def sources(rows: pd.DataFrame, prefix: str, size: int) -> pd.DataFrame:
    return rows.assign(**{"group:source": [f"{prefix}{i // size}" for i in range(len(rows))]})


SOURCE = {"group_columns": ["source"]}


def test_val_is_carved_out_of_train_by_group() -> None:
    train = sources(make_rows([0, 1, 1, 1] * 100), "s", 4)
    roles = split(train, None, data={"val": None, **SOURCE}, split={"val_fraction": 0.2})
    assert not set(roles["train"]["group"]) & set(roles["val"]["group"])
    assert len(roles["train"]) + len(roles["val"]) == 400
    assert roles["val"]["label"].value_counts().to_dict() == {1: 60, 0: 20}
    assert set(roles["val"]["fold"]) == {-1}


def test_a_carved_val_without_a_class_is_refused() -> None:
    train = make_rows([0] * 4 + [1] * 100)
    with pytest.raises(ManifestError, match=r"0 reals and 10 fakes[\s\S]*split\.val_fraction"):
        split(train, None, data={"val": None}, split={"val_fraction": 0.1})


@pytest.mark.parametrize(
    ("active", "reals", "spared"),
    [([0], 2000, 0), ([0, 1], 2000, 100), ([0, 1, 2], 399, 0), ([0, 1, 2], 400, 100)],
)
def test_calibration_rows_need_several_active_folds_and_enough_rows(
    active: list[int], reals: int, spared: int
) -> None:
    train = make_rows([0] * reals + [1] * 2000)
    folds = {"count": 3, "active": active, "calibration": 0.05, "calibration_min": 100}
    rows = split(train, make_rows([0, 1], "v"), folds=folds)["train"]
    assert (rows["label"][rows["fold"] == -1] == 0).sum() == spared
    assert len(rows) == reals + 2000


def blend(share: float = 0.5, active: int = 0) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """Roles after a blend, and the val rows: a quarter of val's sources are train's as well."""
    train = sources(make_rows([0, 1, 1, 1] * 50), "s", 4)
    val = sources(make_rows([0, 1] * 100, "v"), "v", 5)
    val.loc[:49, "group:source"] = [f"s{i // 5}" for i in range(50)]
    folds = {"count": 4, "active": [active]}
    roles = split(train, val, data=SOURCE, folds=folds, split={"blend_from_val": share})
    return roles, val


@pytest.mark.parametrize("active", [0, 3])
def test_with_blended_val_rows_members_learn_from_all_of_train(active: int) -> None:
    roles, _ = blend(active=active)
    manifest = Manifest("train", roles["train"], "digest")
    learned = manifest.table.loc[manifest.rows_to_learn(active).row_ids, "img_name"]
    assert sorted(learned) == sorted(f"t{i}.png" for i in range(200))


@pytest.mark.parametrize("active", [0, 3])
def test_blended_val_rows_are_the_active_fold_alone(active: int) -> None:
    roles, val = blend(active=active)
    train = roles["train"]
    moved = train["img_name"].str.startswith("v")
    assert set(train["fold"][moved]) == {active}
    assert set(train["fold"][~moved]) == {0, 1, 2, 3} - {active}
    assert sorted([*train["img_name"][moved], *roles["val"]["img_name"]]) == sorted(val["img_name"])


def test_blended_val_rows_come_by_whole_groups_that_train_does_not_have() -> None:
    roles, _ = blend()
    train, val = roles["train"], roles["val"]
    moved = train["img_name"].str.startswith("v")
    groups = set(train["group"][moved])
    assert not groups & set(train["group"][~moved])
    assert not groups & set(val["group"])
    assert 75 <= moved.sum() <= 80
    assert train["label"][moved].mean() == pytest.approx(0.5, abs=0.05)


def test_without_a_blend_no_val_row_moves() -> None:
    roles, val = blend(share=0.0)
    assert roles["val"]["img_name"].tolist() == val["img_name"].tolist()
    assert set(roles["train"]["fold"]) == {0, 1, 2, 3}


GENERATED = ["", "gan", "", "diffusion"] * 50


def held_out(**sections: Any) -> dict[str, pd.DataFrame]:
    """Train rows of two generators, of which `gan` is held out; val has a third one as well."""
    train = make_rows([0, 1, 0, 1] * 50, generator=GENERATED)
    train = train.assign(**{"hold:generator": train["generator"]})
    val = make_rows([0, 1, 1, 1], "v", generator=["", "gan", "diffusion", "flow"])
    return split(train, val, split={"hold_out": {"generator": "gan"}, **sections.pop("split", {})},
                 **sections)  # fmt: skip


def test_held_out_rows_move_to_val_as_a_domain_of_their_own() -> None:
    roles = held_out()
    assert set(roles["train"]["generator"]) == {"", "diffusion"}
    assert len(roles["train"]) == 150
    val = roles["val"]
    assert val["domain"][val["img_name"].str.startswith("t")].tolist() == ["held_out"] * 50
    assert set(val["generator"][val["domain"] == "held_out"]) == {"gan"}


def test_domains_of_the_given_val_say_what_train_has() -> None:
    val = held_out()["val"]
    given = val[val["img_name"].str.startswith("v")]
    found = dict(zip(given["generator"], given["domain"], strict=True))
    assert found == {"": "seen", "gan": "unseen", "diffusion": "seen", "flow": "unseen"}


def test_held_out_rows_are_never_blended_back() -> None:
    roles = held_out(split={"blend_from_val": 0.5})
    assert "gan" not in set(roles["train"]["generator"][roles["train"]["img_name"] < "u"])
    assert (roles["val"]["domain"] == "held_out").sum() == 50


def test_a_carved_val_and_a_held_out_domain_stand_side_by_side() -> None:
    train = make_rows([0, 1, 0, 1] * 50, generator=GENERATED)
    train = train.assign(**{"hold:generator": train["generator"]})
    options = {"hold_out": {"generator": ["gan"]}, "val_fraction": 0.2}
    val = split(train, None, data={"val": None}, split=options)["val"]
    assert val["domain"].value_counts().to_dict() == {"held_out": 50, "seen": 30}


def test_a_test_list_of_its_own_changes_no_other_role() -> None:
    tables = {"train": make_rows([0, 1] * 20), "val": make_rows([0, 1], "v")}
    params = prepare_params(Path("data"))
    alone = deal_roles(tables, params)
    beside = deal_roles({**tables, "test": make_rows([-1] * 5, "x")}, params)
    for role in ("train", "val"):
        pd.testing.assert_frame_equal(alone[role], beside[role])
    assert np.unique(beside["test"]["group"]).size == 5


def test_rows_of_a_unit_share_fold_and_role_and_link_other_groups() -> None:
    train = sources(make_rows([0, 1, 1, 1] * 100), "s", 4)
    train["unit"] = ["", *(f"u{i // 4}" for i in range(399))]  # one unit ends in the next source
    train.loc[20:, "unit"] = ""
    data = {"val": None, "columns": {"unit": "clip"}, **SOURCE}
    roles = split(train, None, data=data, split={"val_fraction": 0.2})
    both = pd.concat([roles["train"], roles["val"]])
    assert len(set(both["group"][both["img_name"].isin([f"t{i}.png" for i in range(20)])])) == 1
    assert both[both["unit"] != ""].groupby("unit")["fold"].nunique().max() == 1
    assert not set(roles["train"]["group"]) & set(roles["val"]["group"])


def test_units_of_test_group_its_rows_and_none_of_train(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_data(root)
    for role, units in (("train", "abbccddeeffgghhiijjk"), ("val", "x" * 8), ("test", "bcdd")):
        path = root / ("testset_nolabel.txt" if role == "test" else f"{role}set_label.txt")
        lines = path.read_text().splitlines()
        cells = ["clip", *units]
        path.write_text("\n".join(f"{a},{b}" for a, b in zip(lines, cells, strict=True)) + "\n")
    run(prepare_params(root, data={"columns": {"unit": "clip"}}), tmp_path / "out")
    train, val, test = (read_manifest(tmp_path / "out", role) for role in ROLES)
    assert train.table["unit"].tolist() == list("abbccddeeffgghhiijjk")
    assert train.groups.tolist() == [(i + 1) // 2 for i in range(20)]
    assert len(set(val.groups)) == 1
    assert test.groups.tolist() == [0, 1, 2, 2]
    text = (tmp_path / "out/summary.md").read_text()
    assert "Units (videos, or data.columns.unit): 11 in train, 1 in val, 3 in test." in text


@pytest.mark.parametrize("val", [True, False])
def test_with_final_val_joins_train_and_nothing_is_held_out(val: bool) -> None:
    train = sources(make_rows([0, 1, 1, 1] * 50), "s", 4)
    train["hold:generator"] = "gan"
    others = sources(make_rows([0, 1] * 100, "v"), "s", 4)  # its sources are train's as well
    roles = split(
        train,
        others if val else None,
        data={"final": True, **SOURCE, **({} if val else {"val": None})},
        split={"hold_out": {"generator": "gan"}, "blend_from_val": 0.5, "val_fraction": 0.5},
    )
    assert len(roles["val"]) == 0
    assert len(roles["train"]) == (400 if val else 200)
    assert set(roles["train"]["domain"]) == {""}
    assert set(roles["train"]["fold"]) == {0, 1}
    assert roles["train"].groupby("group")["fold"].nunique().max() == 1
    assert roles["train"]["group"].nunique() == 50


def test_prepare_writes_an_empty_val_and_says_so(tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    run(prepare_params(tmp_path / "data", data={"final": True}), tmp_path / "out")
    train, val, test = (read_manifest(tmp_path / "out", role) for role in ROLES)
    assert (len(train), len(val), len(test)) == (28, 0, 4)
    assert train.table["img_name"].tolist()[20:] == [f"val{i:02d}.png" for i in range(8)]
    text = (tmp_path / "out/summary.md").read_text()
    assert "data.final is true: the rows of val are in train" in text
