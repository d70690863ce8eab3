"""`review.csv` through `prepare`: which label counts where, and what is wrong with such a file."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from made_data import draw_noise, encode, make_rows, prepare_params, write_table

from features.core.manifest import ROLES, read_manifest
from features.errors import ManifestError
from features.inputs.contents import KnownContents
from features.inputs.run import describe_inputs
from features.prepare.label_overrides import HEADER, override_labels
from features.prepare.run import run
from features.settings.data import Data

pytestmark = pytest.mark.usefixtures("one_process")


@pytest.fixture
def review(tmp_path: Path) -> Path:
    return tmp_path / "review.csv"


def prepare(
    data: Path, review: Path | None, name: str = "out", /, **sections: dict[str, Any]
) -> dict[str, pd.DataFrame]:
    """Rows by role, by name of the image."""
    sections["data"] = {"label_overrides": review and str(review), **sections.get("data", {})}
    out = data.parent / name
    run(prepare_params(data, **sections), out)
    return {role: read_manifest(out, role).table.set_index("img_name") for role in ROLES}


def find_problems(data: Path, review: Path, /, **sections: dict[str, Any]) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        prepare(data, review, **sections)
    assert str(review) in str(caught.value)
    return caught.value.problems


def read_counts(data: Path, name: str = "out") -> dict[str, Any]:
    return json.loads((data.parent / name / "summary.json").read_text())["label overrides"]


def count(real: int = 0, fake: int = 0, confirmed: int = 0) -> dict[str, int]:
    return {"to real": real, "to fake": fake, "confirmed": confirmed}


def test_train_learns_the_corrected_label_and_val_keeps_its_own(data: Path, review: Path) -> None:
    rows = [
        ("train", "train00.png", 0, 1, 'seam, left of the "nose"'),
        ("train", "train01.png", 1, 0, "two\nlines"),
        ("train", "train02.png", 0, 0, ""),
        ("val", "val00.png", 0, 1, ""),
        ("val", "val03.png", 1, 1, ""),
    ]
    write_table(review, HEADER, rows)
    found = prepare(data, review)
    train, val = found["train"], found["val"]
    assert train["label"].tolist() == [1, 0, *[0, 1] * 9]
    assert train["override"].tolist() == [1, 0, *[-1] * 18]
    assert val["label"].tolist() == [0, 1] * 4
    assert val["override"].tolist() == [1, -1, -1, 1, -1, -1, -1, -1]
    assert set(found["test"]["override"]) == {-1}
    assert read_counts(data) == {
        "train": count(real=1, fake=1, confirmed=1),
        "val": count(fake=1, confirmed=1),
        "unused": 0,
    }
    page = (data.parent / "out/summary.md").read_text()
    assert "| train |       1 |       1 |         1 |" in page
    assert "Val keeps the labels of its list" in page


def test_without_a_review_the_page_says_nothing(data: Path) -> None:
    found = prepare(data, None)
    assert {o for rows in found.values() for o in rows["override"]} == {-1}
    assert "label overrides" not in (data.parent / "out/summary.json").read_text()
    assert "looked at" not in (data.parent / "out/summary.md").read_text()


def test_a_confirmed_train_label_trains_nothing_anew(data: Path, review: Path) -> None:
    write_table(review, HEADER, [("train", "train02.png", 0, 0, "")])
    prepare(data, None, "before")
    prepare(data, review, "after")
    before, after = (data.parent / name / "train.parquet" for name in ("before", "after"))
    assert before.read_bytes() == after.read_bytes()


def test_a_carved_val_has_the_same_rows_and_labels_as_before(data: Path, review: Path) -> None:
    options: dict[str, Any] = {"data": {"val": None}, "split": {"val_fraction": 0.3}}
    before = prepare(data, None, "before", **options)
    carved = before["val"].index[before["val"]["label"] == 1].tolist()
    learned = before["train"].index[before["train"]["label"] == 1].tolist()
    rows = [("val", name, 1, 0, "") for name in carved[:-1]]
    rows += [("train", carved[-1], 1, 1, "")]  # said to be of train: so it is in its list
    rows += [("train", name, 1, 0, "") for name in learned[:2]]
    write_table(review, HEADER, rows)
    after = prepare(data, review, **options)
    assert after["val"].index.tolist() == before["val"].index.tolist()
    assert after["val"]["label"].tolist() == before["val"]["label"].tolist()
    assert after["val"].loc[carved, "override"].tolist() == [0] * (len(carved) - 1) + [1]
    assert after["train"].loc[learned[:2], "label"].tolist() == [0, 0]
    counts = read_counts(data)
    assert counts["val"] == count(real=len(carved) - 1, confirmed=1)
    assert counts["train"] == count(real=2)


def write_generators(data: Path) -> None:
    """Every other fake of train is of `gan`, the others of `flow`."""
    rows = [(f"train{i:02d}.png", i % 2, ["", "gan", "", "flow"][i % 4]) for i in range(20)]
    write_table(data / "trainset_label.txt", ["img_name", "target", "made_by"], rows)
    rows = [(f"val{i:02d}.png", i % 2, "") for i in range(8)]
    write_table(data / "valset_label.txt", ["img_name", "target", "made_by"], rows)


def test_held_out_rows_are_val_rows_and_a_corrected_real_has_no_generator(
    data: Path, review: Path
) -> None:
    write_generators(data)
    rows = [("val", "train01.png", 1, 0, ""), ("train", "train03.png", 1, 0, "")]
    write_table(review, HEADER, rows)
    found = prepare(
        data, review,
        data={"columns": {"generator": "made_by"}}, split={"hold_out": {"made_by": "gan"}},
    )  # fmt: skip
    held, learned = found["val"].loc["train01.png"], found["train"].loc["train03.png"]
    assert (held["label"], held["override"], held["generator"]) == (1, 0, "gan")
    assert (learned["label"], learned["override"], learned["generator"]) == (0, 0, "")


def test_val_rows_that_join_train_bring_their_corrected_label(data: Path, review: Path) -> None:
    rows = [("val", f"val{i:02d}.png", i % 2, 1 - i % 2, "") for i in range(8)]
    write_table(review, HEADER, rows[:2])
    final = prepare(data, review, data={"final": True})["train"]
    assert final.loc[["val00.png", "val01.png", "val02.png"], "label"].tolist() == [1, 0, 0]
    write_table(
        review, HEADER, [("val", f"val{i:02d}.png", i % 2, 1 - i % 2, "") for i in range(8)]
    )
    blended = prepare(data, review, split={"blend_from_val": 0.5})
    moved = blended["train"][blended["train"].index.str.startswith("val")]
    assert len(moved) == len(blended["val"]) == 4
    assert moved["label"].tolist() == [1 - int(name[4]) % 2 for name in moved.index]
    assert blended["val"]["label"].tolist() == [int(n[4]) % 2 for n in blended["val"].index]


def test_a_correction_settles_which_label_the_same_file_has(data: Path, review: Path) -> None:
    content = (data / "trainset/train00.png").read_bytes()
    (data / "trainset/train01.png").write_bytes(content)
    data_limits = {"max_bad_fraction": 0.5}
    assert "train00.png" not in prepare(data, None, "before", data=data_limits)["train"].index
    write_table(review, HEADER, [("train", "train01.png", 1, 0, "the same as train00")])
    train = prepare(data, review, data=data_limits)["train"]
    assert train.loc[["train00.png", "train01.png"], "label"].tolist() == [0, 0]


def test_no_correction_takes_a_row_out_of_val(data: Path, review: Path) -> None:
    """Not even one of a row whose very file stands elsewhere under the label of the list."""
    for copy, of in (("val/val02", "val/val00"), ("train/train04", "val/val04"),
                     ("train/train08", "train/train06")):  # fmt: skip
        source, target = (data / f"{name.replace('/', 'set/')}.png" for name in (of, copy))
        target.write_bytes(source.read_bytes())
    corrected = [("val", "val00"), ("train", "train04"), ("train", "train06")]
    write_table(review, HEADER, [(role, f"{name}.png", 0, 1, "") for role, name in corrected])
    limits = {"max_bad_fraction": 0.5}
    before, after = (
        prepare(data, r, name, data=limits) for r, name in ((None, "a"), (review, "b"))
    )
    assert after["val"].index.tolist() == before["val"].index.tolist()
    assert after["val"]["label"].tolist() == before["val"]["label"].tolist()
    assert after["val"]["override"].tolist() == [1, *[-1] * 7]
    gone = set(before["train"].index) - set(after["train"].index)
    assert gone == {"train06.png", "train08.png"}  # the copy of val04 is gone either way


def test_no_correction_takes_a_row_out_of_a_carved_val(data: Path, review: Path) -> None:
    for i in range(0, 20, 4):
        content = (data / f"trainset/train{i:02d}.png").read_bytes()
        (data / f"trainset/train{i + 2:02d}.png").write_bytes(content)
    rows = [("val", f"train{i:02d}.png", 0, 1, "") for i in range(0, 20, 4)]
    write_table(review, HEADER, rows)
    options: dict[str, Any] = {"data": {"val": None}, "split": {"val_fraction": 0.4}}
    before = prepare(data, None, "before", **options)["val"]
    after = prepare(data, review, **options)["val"]
    assert after.index.tolist() == before.index.tolist()
    assert (after["override"] == 1).any()


def test_labels_of_rows_that_are_not_used_are_counted_apart(data: Path, review: Path) -> None:
    (data / "trainset/train00.png").write_bytes(b"")
    write_table(review, HEADER, [("train", f"train0{i}.png", i % 2, 1 - i % 2, "") for i in (0, 1)])
    prepare(data, review, data={"max_bad_fraction": 0.5})
    assert read_counts(data)["train"] == count(real=1)
    assert read_counts(data)["unused"] == 1
    assert "1 more are of images" in (data.parent / "out/summary.md").read_text()


def test_class_folders_and_other_spellings_of_classes_take_0_and_1(
    tmp_path: Path, review: Path
) -> None:
    data = tmp_path / "data"
    for i in range(16):
        place = data / "train" / ("photo", "made/gan")[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i:02d}.png").write_bytes(encode(draw_noise(i)))
    (data / 'train/photo/odd ,"name .png').write_bytes(encode(draw_noise(99)))
    rows = [
        ("train", "made/gan/01.png", 1, 0, ""),
        ("val", "photo/00.png", 0, 1, ""),
        ("train", 'photo/odd ,"name .png', 0, 1, ""),
    ]
    write_table(review, HEADER, rows)
    found = prepare(
        data, review,
        data={
            "train": {"labels": None, "images": "train"}, "val": None, "test": None,
            "classes": {"real": ["photo"], "fake": ["made"],
                        "real_folders": ["photo"], "fake_folders": ["made"]},
        },
        split={"val_fraction": 0.2},
    )  # fmt: skip
    rows = pd.concat([found["train"], found["val"]])
    names = [name for _, name, *_ in pd.read_csv(review).itertuples(index=False)]
    assert rows.loc[names, "override"].tolist() == [0, 1, 1]


def test_all_problems_of_a_file_are_told_with_their_lines(data: Path, review: Path) -> None:
    rows = [
        ("train", "train00.png", 0, 1, ""),
        ("train", "nobody.png", 0, 1, ""),
        ("val", "train02.png", 0, 1, ""),
        ("test", "test00.png", 0, 1, ""),
        ("trian", "train04.png", 0, 1, ""),
        ("train", "train06.png", "real", "fake", "two\nlines"),
        ("train", "train08.png", 1, 0, ""),
        ("train", "train00.png", 0, 0, ""),
        ("train", "train00.png", 0, 1, "said again: no problem"),
    ]
    write_table(review, HEADER, rows)
    with open(review, "a") as file:
        file.write("train,train10.png,0\n")
    assert find_problems(data, review) == [
        "line 3: 'nobody.png' is no image of train",
        "line 4: 'train02.png' is no image of val, but of train",
        "line 5: rows of test have no label to override",
        "line 6: role 'trian' is neither train nor val",
        "line 8: label 'real' is neither 0 nor 1",
        "line 8: corrected 'fake' is neither 0 nor 1",
        "line 9: 'train08.png' had the label 1 when it was looked at, now it has 0",
        "line 10: 'train00.png' is corrected otherwise in line 2",
        "line 12: 3 fields instead of 5",
    ]


def test_the_same_row_by_both_roles_is_one_row(data: Path, review: Path) -> None:
    rows = [("val", "train00.png", 0, 1, ""), ("train", "train00.png", 0, 0, "")]
    write_table(review, HEADER, rows)
    problems = find_problems(data, review, data={"val": None})
    assert problems == ["line 3: 'train00.png' is corrected otherwise in line 2"]


def test_a_name_that_may_mean_two_rows_of_val_is_refused(data: Path, review: Path) -> None:
    write_generators(data)
    (data / "valset/val01.png").rename(data / "valset/train01.png")
    labels = data / "valset_label.txt"
    labels.write_text(labels.read_text().replace("val01", "train01"))
    write_table(review, HEADER, [("val", "train01.png", 1, 0, "")])
    problems = find_problems(
        data, review,
        data={"columns": {"generator": "made_by"}}, split={"hold_out": {"made_by": "gan"}},
    )  # fmt: skip
    assert problems == ["line 2: 'train01.png' may mean 2 images: rename all but one"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "role,img_name,label,corrected\n",
            "line 1: the header is 'role,img_name,label",
        ),
        ("role;img_name;label;note\n", "line 1: the header is 'role,img_name"),
        ("", "the file is empty"),
    ],
)
def test_a_file_of_another_form_is_refused(
    data: Path, review: Path, text: str, problem: str
) -> None:
    review.write_text(text)
    assert find_problems(data, review)[0].startswith(problem)


def test_a_review_that_went_through_a_spreadsheet_is_read(data: Path, review: Path) -> None:
    review.write_text(f"\ufeffsep=;\n{';'.join(HEADER)}\ntrain;train00.png;0;1;seam\n")
    assert prepare(data, review)["train"]["label"].tolist()[:2] == [1, 1]


def test_a_missing_file_is_told_before_any_work(data: Path, review: Path) -> None:
    with pytest.raises(ManifestError, match=r"data\.label_overrides: no file .*review\.csv"):
        describe_inputs(Data(root=str(data), label_overrides=str(review)), KnownContents({}))
    assert find_problems(data, review) == ["there is no such file"]


def test_inputs_notes_the_digest_so_that_a_change_runs_prepare_again(
    data: Path, review: Path
) -> None:
    given = Data(root=str(data), label_overrides=str(review))
    write_table(review, HEADER, [("train", "train00.png", 0, 1, "")])
    before = describe_inputs(given, KnownContents({}))
    write_table(review, HEADER, [("train", "train00.png", 0, 0, "")])
    after = describe_inputs(given, KnownContents({}))
    assert [key for key in after if before[key] != after[key]] == ["label_overrides"]
    assert "label_overrides" not in describe_inputs(Data(root=str(data)), KnownContents({}))


def test_the_label_of_the_list_stays_beside_the_corrected_one(data: Path, review: Path) -> None:
    """No step has to work it out again from the override."""
    write_table(review, HEADER, [("train", "t0.png", 0, 1, ""), ("train", "t1.png", 1, 1, "")])
    params = prepare_params(data, data={"label_overrides": str(review)})
    listed = make_rows([0, 1, 0]).drop(columns=["override", "corrected", "confirmed"])
    rows = override_labels(listed.assign(role="train"), params)
    assert rows["label"].tolist() == [0, 1, 0]
    assert rows["corrected"].tolist() == [1, 1, 0]
    assert rows["override"].tolist() == [1, -1, -1]
    assert rows["confirmed"].tolist() == [False, True, False]
