"""Class folders: which files become rows, and which folders are refused."""

import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from features.errors import ManifestError
from features.inputs.contents import KnownContents
from features.inputs.pictures import describe_pictures
from features.lists.class_folders import read_role
from features.lists.label_file import ListedRows
from features.settings.data import Data

FOLDERS = {"labels": None, "images": "pictures"}
FILES = [
    "real/b.jpg",
    "real/deep/down/a.png",
    "fake/1.png",
    "fake/stylegan/2.png",
    "fake/stylegan/deep/3.png",
    "fake/diffusion/1.png",
]


def make_files(root: Path, names: list[str]) -> Path:
    for name in names:
        path = root / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def read(
    root: Path, role: str = "train", hold_out: dict[str, list[str]] | None = None, **data: Any
) -> pd.DataFrame:
    values = {"root": str(root), "train": FOLDERS, "val": FOLDERS, "test": FOLDERS, **data}
    listed = read_role(Data.model_validate(values), hold_out or {}, role)
    assert listed.repeated == 0
    return listed.rows


def read_all(root: Path, role: str = "train") -> ListedRows:
    values = {"root": str(root), "train": FOLDERS, "val": FOLDERS, "test": FOLDERS}
    return read_role(Data.model_validate(values), {}, role)


def find_problems(root: Path, *args: Any, **options: Any) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        read(root, *args, **options)
    assert str(root / "pictures") in str(caught.value)
    return caught.value.problems


def test_units_need_a_list(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"data\.columns\.unit: no columns.*: set it to null\Z"):
        read(make_files(tmp_path, FILES), columns={"unit": "clip"})


def test_files_become_rows_sorted_by_name(tmp_path: Path) -> None:
    rows = read(make_files(tmp_path, FILES))
    assert rows.values.tolist() == [
        [0, name, f"pictures/{name}", label, 1.0, 1.0, generator, "", ""]
        for name, label, generator in (
            ("fake/1.png", 1, ""),
            ("fake/diffusion/1.png", 1, "diffusion"),
            ("fake/stylegan/2.png", 1, "stylegan"),
            ("fake/stylegan/deep/3.png", 1, "stylegan"),
            ("real/b.jpg", 0, ""),
            ("real/deep/down/a.png", 0, ""),
        )
    ]


def test_columns_and_their_types_are_those_of_a_list(tmp_path: Path) -> None:
    make_files(tmp_path, FILES)
    (tmp_path / "list.txt").write_text("img_name,target,by\nreal/b.jpg,0,\n")
    listed = {"labels": "list.txt", "images": "pictures"}
    data = {"root": str(tmp_path), "train": listed, "columns": {"generator": "by"}}
    wanted = read_role(Data.model_validate(data), {"by": ["x"]}, "train").rows
    found = read(tmp_path, hold_out={"by": ["x"]}, columns={"generator": "by"})
    pd.testing.assert_series_equal(found.dtypes, wanted.dtypes)


def test_test_images_need_no_class_and_keep_empty_group_columns(tmp_path: Path) -> None:
    make_files(tmp_path, ["c.png", "b/a.png", "real/x.png"])
    rows = read(tmp_path, "test", {"generator": ["x"]}, group_columns=["source"])
    assert rows["img_name"].tolist() == ["b/a.png", "c.png", "real/x.png"]
    assert set(rows["label"]) == {-1}
    assert set(rows["generator"]) == set(rows["group:source"]) == {""}
    assert "hold:generator" not in rows


@pytest.mark.parametrize("order", [1, -1])
def test_rows_do_not_depend_on_the_order_of_the_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: int
) -> None:
    wanted = read(make_files(tmp_path, FILES))
    scan = os.scandir

    class Ordered:
        def __init__(self, folder: Path) -> None:
            with scan(folder) as entries:
                self.entries = sorted(entries, key=lambda e: e.name)[::order]

        def __enter__(self) -> list[os.DirEntry[str]]:
            return self.entries

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(os, "scandir", Ordered)
    pd.testing.assert_frame_equal(read(tmp_path), wanted)


def test_several_folders_may_stand_for_a_class(tmp_path: Path) -> None:
    make_files(tmp_path, ["cam/a.png", "web/b.png", "gan/c.png", "swap/v1/d.png"])
    classes = {"real_folders": ["cam", "web"], "fake_folders": ["gan", "swap"]}
    rows = read(tmp_path, classes=classes)
    assert dict(zip(rows["img_name"], rows["label"], strict=True)) == {
        "cam/a.png": 0,
        "gan/c.png": 1,
        "swap/v1/d.png": 1,
        "web/b.png": 0,
    }
    assert rows["generator"].tolist() == ["", "", "v1", ""]
    for name in ("web", "swap"):
        for path in sorted((tmp_path / "pictures" / name).rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        (tmp_path / "pictures" / name).rmdir()
    assert find_problems(tmp_path, classes=classes) == ["no folder 'web'", "no folder 'swap'"]
    assert len(read(tmp_path, "val", classes=classes)) == 2


def test_what_systems_leave_is_skipped_counted_and_said(tmp_path: Path) -> None:
    litter = [".DS_Store", "real/._b.jpg", "fake/Thumbs.db", "fake/.thumbnails/x.png"]
    litter += [
        "desktop.ini",
        "__MACOSX/real/b.jpg",
        "fake/@eaDir/b.jpg/x.jpg",
        "fake/#recycle/y.png",
    ]
    litter += ["real/.ipynb_checkpoints/b-checkpoint.jpg", "real/.AppleDouble/b.jpg"]
    wanted = read(make_files(tmp_path, FILES))
    assert not read_all(tmp_path).notes
    found = read_all(make_files(tmp_path, litter))
    pd.testing.assert_frame_equal(found.rows, wanted)
    assert found.notes == ["skipped as hidden, or left there by a system: 10, such as '.DS_Store'"]


def test_links_to_folders_are_not_followed_and_links_to_files_are_rows(tmp_path: Path) -> None:
    root = make_files(tmp_path, FILES) / "pictures"
    (root / "fake" / "loop").symlink_to("..")
    (root / "real" / "link.png").symlink_to("b.jpg")
    (root / "real" / "nowhere.png").symlink_to("gone.jpg")
    names = read(tmp_path)["img_name"].tolist()
    assert sorted({*names} - {*FILES}) == ["real/link.png", "real/nowhere.png"]
    notes = read_all(tmp_path).notes
    assert notes == ["links to folders, not followed without data.trusted: 1, such as 'fake/loop'"]


def test_class_folders_may_be_links_into_trusted_folders(tmp_path: Path) -> None:
    disk = make_files(tmp_path / "disk", FILES) / "pictures"
    root = tmp_path / "pictures"
    root.mkdir()
    (root / "real").symlink_to(disk / "real")
    make_files(tmp_path, ["fake/1.png"])
    (root / "fake" / "stylegan").symlink_to(disk / "fake" / "stylegan")
    (disk / "fake" / "stylegan" / "up").symlink_to(disk)  # in a circle: left out
    wanted = ["fake/1.png", "fake/stylegan/2.png", "fake/stylegan/deep/3.png"]
    wanted += ["real/b.jpg", "real/deep/down/a.png"]
    assert read(tmp_path, trusted=[str(disk)])["img_name"].tolist() == wanted
    noted = describe_pictures(tmp_path, "pictures", (str(disk),), KnownContents({}))
    assert noted["files"] == len(wanted)
    problem, *_ = find_problems(tmp_path)
    assert problem == (
        f"'real' is a link to the folder '{disk / 'real'}': followed if data.trusted names that "
        "folder or one above it"
    )


def test_links_that_lead_to_one_another_are_files_that_cannot_be_read(tmp_path: Path) -> None:
    root = make_files(tmp_path, FILES) / "pictures"
    (root / "real" / "loop.png").symlink_to("loop.png")
    assert "real/loop.png" in read(tmp_path)["img_name"].tolist()
    (root / "loop").symlink_to("loop")
    assert find_problems(tmp_path) == ["1 files beside the class folders, the first is 'loop'"]


def test_texts_beside_class_folders_and_folders_of_other_roles_are_no_problem(
    tmp_path: Path,
) -> None:
    more = ["real/texts/c.txt", "notes.txt", "labels.csv", "new/1.png", "val/real/2.png"]
    make_files(tmp_path, [*FILES, *more])
    roles = {"test": {"labels": None, "images": "pictures/new"}, "val": None}
    values = {"root": str(tmp_path), "train": FOLDERS, **roles}
    with pytest.raises(ManifestError, match="unknown folder 'val'"):
        read_role(Data.model_validate(values), {}, "train")
    values["val"] = {"labels": None, "images": "pictures/val"}
    listed = read_role(Data.model_validate(values), {}, "train")
    assert set(listed.rows["img_name"]) == {*FILES, "real/texts/c.txt"}  # which cannot be read
    assert any(n.startswith("files beside class folders") and n.endswith(
        "2, such as 'labels.csv'") for n in listed.notes)  # fmt: skip


def test_all_problems_of_class_folders_are_told_together(tmp_path: Path) -> None:
    root = make_files(tmp_path, ["Fak/a.png", "others/b.png", "readme.txt", "z.png"]) / "pictures"
    (root / "real").mkdir()
    (root / "linked").symlink_to("others")
    assert find_problems(tmp_path) == [
        "1 files beside the class folders, the first is 'z.png'",
        "'linked' is a link to the folder 'others': followed if data.trusted names that folder or "
        "one above it",
        "no folder 'fake'",
        "unknown folder 'Fak'; known: fake, real",
        "unknown folder 'others'; known: fake, real",
        "folder 'real' holds no file",
    ]


@pytest.mark.parametrize(
    ("real", "fake"), [("Real", "FAKE"), ("0_real", "1_fake"), ("nature", "ai")]
)
def test_class_folders_in_another_case_and_those_of_benchmarks_are_read(
    tmp_path: Path, real: str, fake: str
) -> None:
    found = read_all(make_files(tmp_path, [f"{real}/a.png", f"{fake}/gan/b.png"]))
    assert dict(zip(found.rows["img_name"], found.rows["label"], strict=True)) == {
        f"{real}/a.png": 0,
        f"{fake}/gan/b.png": 1,
    }
    assert found.rows.set_index("label")["generator"].to_dict() == {0: "", 1: "gan"}
    assert set(found.notes) == {f"folder {real!r} read as real", f"folder {fake!r} read as fake"}


def test_a_class_folder_in_two_cases_is_refused_with_the_line_that_takes_both(
    tmp_path: Path,
) -> None:
    make_files(tmp_path, ["real/a.png", "Real/b.png", "fake/c.png"])
    assert find_problems(tmp_path) == [
        "'Real' and 'real' may both be one class: data.classes.real_folders: [Real, real], or "
        "remove one"
    ]
    assert len(read(tmp_path, classes={"real_folders": ["Real", "real"]})) == 3


BENCHMARK = ["car/0_real/1.png", "car/1_fake/1.png", "cat/0_real/2.png", "cat/1_fake/deep/3.png"]


@pytest.mark.parametrize("above", ["", "progan/"])
def test_the_folder_above_class_folders_is_the_generator_of_fakes(
    tmp_path: Path, above: str
) -> None:
    found = read_all(make_files(tmp_path, [above + name for name in BENCHMARK]))
    assert found.rows["label"].tolist() == [0, 1, 0, 1]
    assert found.rows["generator"].tolist() == ["", f"{above}car", "", f"{above}cat"]
    assert found.rows["source"].tolist() == [
        f"{above}{name}" for name in ("car", "car", "cat", "cat")
    ]
    assert found.notes == [
        "folders above those of the classes read as sources, and as generators of their fakes: 2"
    ]


def test_reals_and_fakes_below_one_folder_may_be_held_out_together(tmp_path: Path) -> None:
    rows = read(make_files(tmp_path, BENCHMARK), hold_out={"source": ["car"], "generator": ["cat"]})
    assert rows["hold:source"].tolist() == ["car", "car", "cat", "cat"]
    assert rows["hold:generator"].tolist() == ["", "car", "", "cat"]
    named = read(tmp_path, hold_out={"origin": ["car"]}, columns={"source": "origin"})
    assert named["hold:origin"].tolist() == rows["source"].tolist() == rows["hold:source"].tolist()


def test_problems_below_folders_are_told_with_their_paths(tmp_path: Path) -> None:
    make_files(tmp_path, [*BENCHMARK, "dog/x.png", "car/notes/y.txt", "cat/z.png"])
    assert find_problems(tmp_path) == [
        "1 files beside class folders, the first is 'cat/z.png'",
        "unknown folder 'car/notes'; known: fake, real",
        "unknown folder 'dog'; known: fake, real",
    ]


def test_a_role_without_any_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    assert find_problems(tmp_path) == ["no folder 'real'", "no folder 'fake'"]
    assert find_problems(tmp_path, "test") == ["there is no file to label"]


@pytest.mark.parametrize("role", ["train", "test"])
def test_a_folder_that_is_not_there_is_told(tmp_path: Path, role: str) -> None:
    assert find_problems(tmp_path, role) == ["cannot be listed: No such file or directory"]


@pytest.mark.parametrize("role", ["train", "val"])
def test_group_columns_need_a_list(tmp_path: Path, role: str) -> None:
    make_files(tmp_path, FILES)
    with pytest.raises(ManifestError) as caught:
        read(tmp_path, role, group_columns=["source"])
    why = f"no columns, because data.{role}.labels is null: set it to []"
    assert caught.value.problems == [f"data.group_columns: {why}"]
    assert caught.value.advice == ""


def test_advice_on_folders_stands_below_their_problems_alone(tmp_path: Path) -> None:
    make_files(tmp_path, [*FILES, "other/a.png"])
    with pytest.raises(ManifestError) as caught:
        read(tmp_path, group_columns=["source"])
    assert len(caught.value.problems) == 2
    assert "data.classes.real_folders" in caught.value.advice


@pytest.mark.parametrize(
    ("key", "column"), [("generator", None), ("generator", "by"), ("by", "by")]
)
def test_generators_may_be_held_out(tmp_path: Path, key: str, column: str | None) -> None:
    make_files(tmp_path, FILES)
    rows = read(tmp_path, hold_out={key: ["stylegan"]}, columns={"generator": column})
    assert rows[f"hold:{key}"].tolist() == rows["generator"].tolist()
    assert f"hold:{key}" not in read(tmp_path, "val", {key: ["stylegan"]})


def test_nothing_else_can_be_held_out_without_a_list(tmp_path: Path) -> None:
    make_files(tmp_path, FILES)
    (problem,) = find_problems(tmp_path, hold_out={"camera": ["x"]})
    assert problem == "split.hold_out.camera: without a list only generator and source are known"


def test_a_name_that_is_no_utf8_is_told(tmp_path: Path) -> None:
    make_files(tmp_path, FILES)
    with open(os.fsencode(tmp_path / "pictures" / "real") + b"/\xff.png", "wb"):
        pass
    (problem,) = find_problems(tmp_path)
    assert problem == r"'real/\udcff.png': no valid UTF-8, rename it"


def test_a_file_for_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "pictures").write_text("")
    assert find_problems(tmp_path) == ["cannot be listed: Not a directory"]
