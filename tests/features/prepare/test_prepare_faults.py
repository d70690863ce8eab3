"""What `prepare` makes of bad rows and bad files."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest
from made_data import draw_noise, encode, prepare_params, write_table

from features.core.manifest import ROLES, read_manifest
from features.errors import ManifestError
from features.prepare import run as prepare
from features.prepare.run import run


def add_lines(data: Path, role: str, *lines: str) -> None:
    with open(data / f"{role}set_label.txt", "a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def read_quarantine(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "quarantine.csv", dtype=str)


@pytest.mark.fault("an empty file")
@pytest.mark.fault("a web page or text named .jpg")
@pytest.mark.usefixtures("one_process")
def test_test_rows_that_cannot_be_read_keep_their_place(data: Path, tmp_path: Path) -> None:
    folder, out = data / "testset", tmp_path / "out"
    (folder / "test01.png").write_bytes(b"")
    (folder / "test02.png").write_text("<html>")
    run(prepare_params(data), out)
    test = read_manifest(out, "test")
    assert test.table["img_name"].tolist() == [f"test{i:02d}.png" for i in range(4)]
    statuses = test.table["status"].tolist()
    assert [status == "ok" for status in statuses] == [True, False, False, True]
    assert test.rows_to_dump(0).tolist() == [0, 3]
    assert json.loads((out / "summary.json").read_text())["test"]["unreadable"] == 2
    found = read_quarantine(out)
    assert found[["role", "line", "img_name", "status"]].values.tolist() == [
        ["test", "3", "test01.png", statuses[1]],
        ["test", "4", "test02.png", statuses[2]],
    ]


@pytest.mark.fault("a JPEG that was cut off")
@pytest.mark.usefixtures("one_process")
def test_train_and_val_rows_that_cannot_be_read_are_quarantined(data: Path, tmp_path: Path) -> None:
    jpeg, out = encode(draw_noise(0), "JPEG"), tmp_path / "out"
    (data / "trainset/train03.png").write_bytes(jpeg[: len(jpeg) // 2])
    (data / "trainset/train05.png").write_bytes(b"")
    (data / "valset/val02.png").unlink()
    run(prepare_params(data, data={"max_bad_fraction": 0.2}), out)
    manifests = {role: read_manifest(out, role) for role in ROLES}
    assert len(manifests["train"]) == 18
    assert len(manifests["val"]) == 7
    assert not {"train03.png", "train05.png"} & set(manifests["train"].table["img_name"])
    assert manifests["train"].table["row_id"].tolist() == list(range(18))
    found = read_quarantine(out)
    assert found["path"].tolist() == [
        "trainset/train03.png",
        "trainset/train05.png",
        "valset/val02.png",
    ]
    assert found["status"].tolist()[1:] == ["empty file", "missing"]
    assert found["status"][0].startswith("does not decode")
    summary = json.loads((out / "summary.json").read_text())
    assert [summary[role]["unreadable"] for role in ROLES] == [2, 1, 0]


@pytest.mark.fault(
    "a missing file",
    "quarantine; above the limit the error lists ten and counts all",
    "Pictures",
)
@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize(("missing", "limit", "fails"), [(2, 0.1, False), (3, 0.1, True)])
def test_missing_files_fail_above_the_limit(
    data: Path, tmp_path: Path, missing: int, limit: float, fails: bool
) -> None:
    for i in range(missing):
        (data / f"trainset/train{i:02d}.png").unlink()
    params = prepare_params(data, data={"max_bad_fraction": limit})
    if not fails:
        run(params, tmp_path / "out")
        return
    with pytest.raises(ManifestError, match=r"3 of 20 train images .*max_bad_fraction is 0\.1"):
        run(params, tmp_path / "out")
    assert len(read_quarantine(tmp_path / "out")) == 3
    assert not list((tmp_path / "out").glob("*.parquet"))


@pytest.mark.fault("a missing file")
@pytest.mark.usefixtures("one_process")
def test_the_first_ten_missing_files_are_listed_and_all_counted(data: Path, tmp_path: Path) -> None:
    for i in range(14):
        (data / f"trainset/train{i:02d}.png").unlink()
    with pytest.raises(ManifestError) as caught:
        run(prepare_params(data), tmp_path / "out")
    text = str(caught.value)
    assert "trainset/train00.png (line 2): missing" in text
    assert "train09.png" in text
    assert "train10.png" not in text
    assert "14 problems" in text
    assert "… and 4 more" in text


@pytest.mark.usefixtures("one_process")
def test_a_wrong_folder_of_any_role_is_told_with_the_others(data: Path, tmp_path: Path) -> None:
    for role in ("train", "val", "test"):
        (data / f"{role}set").rename(data / f"{role}pictures")
        (data / f"{role}set").mkdir()
    with pytest.raises(ManifestError) as caught:
        run(prepare_params(data), tmp_path / "out")
    for text in ("20 of 20 train images", "8 of 8 val images", "4 of 4 test images", "32 problems"):
        assert text in str(caught.value)


@pytest.mark.fault(
    "a folder, a pipe or a device where a picture should be",
    "quarantine, and nothing hangs; for a label file an error",
    "Pictures",
)
@pytest.mark.fault("a link that leads out of the data")
@pytest.mark.timeout(60)
@pytest.mark.usefixtures("one_process")
def test_folders_pipes_and_links_out_are_quarantined(data: Path, tmp_path: Path) -> None:
    folder = data / "trainset"
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    (tmp_path / "secret.png").write_bytes(encode(draw_noise(9)))
    (folder / "out.png").symlink_to(tmp_path / "secret.png")
    (folder / "loop.png").symlink_to("loop.png")
    add_lines(data, "train", "folder.png,0", "pipe.png,1", "out.png,1", "loop.png,0")
    run(prepare_params(data, data={"max_bad_fraction": 0.5}), tmp_path / "out")
    found = read_quarantine(tmp_path / "out")
    assert found["line"].tolist() == ["22", "23", "24", "25"]
    assert found["status"].tolist()[:3] == [
        "no regular file",
        "no regular file",
        "a link leads outside the data root, and into no folder of data.trusted",
    ]


@pytest.mark.fault("a name that leads out of the data (`../`, absolute, `C:\\x`, NUL, too long)")
def test_no_image_is_opened_while_a_label_file_has_problems(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "ImageCache", lambda *_: 1 / 0)
    add_lines(data, "val", "../trainset/train00.png,0")
    with pytest.raises(ManifestError, match=r"line 10: .* is outside the data root"):
        run(prepare_params(data), tmp_path / "out")


def test_problems_of_several_label_files_are_told_together(data: Path, tmp_path: Path) -> None:
    add_lines(data, "train", "a.png,2", "b.png")
    add_lines(data, "val", "c.png,1,1")
    (data / "testset_nolabel.txt").unlink()
    with pytest.raises(ManifestError) as caught:
        run(prepare_params(data), tmp_path / "out")
    text = str(caught.value)
    wanted = ["line 22: target '2'", "line 23: 1 fields", "line 10: 3 fields", "no such file"]
    assert [part for part in wanted if part in text] == wanted


@pytest.mark.fault("the same row twice")
@pytest.mark.usefixtures("one_process")
def test_repeated_lines_are_counted_in_the_summary(data: Path, tmp_path: Path) -> None:
    add_lines(data, "train", "train00.png,0", "train01.png,1")
    add_lines(data, "val", "val00.png,0")
    run(prepare_params(data), tmp_path / "out")
    assert len(read_manifest(tmp_path / "out", "train")) == 20
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["repeated lines dropped"] == 3


@pytest.mark.usefixtures("one_process")
def test_a_file_in_two_spellings_is_one_row_of_train_and_two_of_test_in_a_group(
    data: Path, tmp_path: Path
) -> None:
    add_lines(data, "train", *(f"./train{i:02d}.png,{i % 2}" for i in range(20)))
    list_test = data / "testset_nolabel.txt"
    list_test.write_text(list_test.read_text() + "./test01.png\n")
    params = prepare_params(data, data={"val": None}, split={"val_fraction": 0.3})
    run(params, tmp_path / "out")
    train, val, test = (read_manifest(tmp_path / "out", role).table for role in ROLES)
    assert len({*train["path"], *val["path"]}) == len(train) + len(val) == 20
    assert test["img_name"].tolist() == [*(f"test{i:02d}.png" for i in range(4)), "./test01.png"]
    assert test["group"].tolist() == [0, 1, 2, 3, 1]
    told = pd.read_csv(tmp_path / "out" / "duplicates.csv")
    columns = ["first_role", "first", "second_role", "second", "kind"]
    name = "testset/test01.png"
    assert told[columns].values.tolist() == [["test", name, "test", name, "exact"]]


@pytest.mark.fault("names like `007`, `NA`, `1e5`", "stay text up to the labels", "Label files")
@pytest.mark.usefixtures("one_process")
def test_names_like_numbers_reach_the_manifest_as_text(data: Path, tmp_path: Path) -> None:
    names = ["007", "NA", "1e5", "null", "-0"]
    for i, name in enumerate(names):
        (data / "testset" / name).write_bytes(encode(draw_noise(i + 50)))
    write_table(data / "testset_nolabel.txt", ["img_name"], [[name] for name in names])
    run(prepare_params(data), tmp_path / "out")
    assert read_manifest(tmp_path / "out", "test").table["img_name"].tolist() == names


@pytest.mark.fault("an empty label file")
@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("data_test", ["header only", "null"])
def test_without_anything_to_label_the_test_manifest_is_empty(
    data: Path, tmp_path: Path, data_test: str
) -> None:
    (data / "testset_nolabel.txt").write_text("img_name\n")
    section = {"test": None} if data_test == "null" else {}
    run(prepare_params(data, data=section), tmp_path / "out")
    assert len(read_manifest(tmp_path / "out", "test")) == 0
    assert len(read_manifest(tmp_path / "out", "train")) == 20


@pytest.mark.fault("one class alone", "error with the counts, before any training", "Label files")
@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("role", ["train", "val"])
def test_a_single_class_is_told_with_its_counts(data: Path, tmp_path: Path, role: str) -> None:
    path = data / f"{role}set_label.txt"
    path.write_text(path.read_text().replace(",1\n", ",0\n"))
    with pytest.raises(ManifestError, match=rf"{role}: \d+ reals and 0 fakes, but both"):
        run(prepare_params(data), tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.parquet"))


@pytest.mark.fault("a fold without a class")
@pytest.mark.usefixtures("one_process")
def test_fewer_reals_than_folds_suggests_fewer_folds(data: Path, tmp_path: Path) -> None:
    path = data / "trainset_label.txt"
    path.write_text(path.read_text().replace(",0\n", ",1\n").replace("00.png,1", "00.png,0"))
    with pytest.raises(ManifestError, match=r"0 reals and \d+ fakes[\s\S]*folds\.count"):
        run(prepare_params(data), tmp_path / "out")
