"""Lists out of spreadsheets, notebooks and other contests: read as they are meant, or refused."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from features.errors import ManifestError
from features.lists.label_file import ListedRows, read_labels
from features.settings.data import Data, RoleFiles

PICTURES = ("a.png", "b.png")
WANTED = {"a.png": 0, "b.png": 1}


def make_pictures(root: Path, *names: str) -> None:
    for name in names:
        path = root / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def read(
    root: Path,
    content: str | bytes,
    pictures: tuple[str, ...] = PICTURES,
    name: str = "list.csv",
    labelled: bool = True,
    **data: Any,
) -> ListedRows:
    make_pictures(root, *pictures)
    (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    values = {"root": str(root), "train": {"labels": name, "images": "pictures"}, **data}
    parsed = Data.model_validate(values)
    assert isinstance(parsed.train, RoleFiles)
    return read_labels(parsed, parsed.train, labelled)


def refuse(root: Path, content: str | bytes, **options: Any) -> ManifestError:
    with pytest.raises(ManifestError) as caught:
        read(root, content, **options)
    return caught.value


def get_labels(listed: ListedRows) -> dict[str, int]:
    """Labels by picture."""
    paths = listed.rows["path"].str.removeprefix("pictures/")
    return dict(zip(paths, listed.rows["label"].tolist(), strict=True))


@pytest.mark.fault(
    "semicolons, tabs, comments first, `1.0` for `1`, invisible characters, Parquet, DFDC's "
    "metadata",
    "read, and said in the summary",
    "Label files",
)
@pytest.mark.parametrize(
    ("content", "note"),
    [
        ("img_name;target\na.png;0\nb.png;1\n", "columns are separated by semicolons"),
        ("img_name\ttarget\na.png\t0\nb.png\t1\n", "columns are separated by tabs"),
        ("img_name|target\na.png|0\nb.png|1\n", "columns are separated by bars"),
        ("sep=;\nimg_name;target\na.png;0\nb.png;1\n", "columns are separated by semicolons"),
        ('"img_name";"target"\n"a.png";"0"\n"b.png";"1"\n', "separated by semicolons"),
        ("x,y;img_name;target\n;a.png;0\n;b.png;1\n", "columns are separated by semicolons"),
        ("# made by a tool, 2024\nimg_name,target\na.png,0\nb.png,1\n", "before the header: 1"),
        ("# a\n\n#b;c\nimg_name;target\na.png;0\nb.png;1\n", "before the header: 3"),
        ("# img_name,target\na.png,0\nb.png,1\n", "the header stands behind a #"),
        ("img_name,target\na.png,0.0\nb.png,1.00\n", "targets '0.0' read as real: 1"),
        ("img_name;target\na.png;0,0\nb.png;1,0\n", "targets '1,0' read as fake: 1"),
        ("img_name\u200b,\ufefftarget\na.png,0\nb.png,1\n", "invisible characters left out"),
        (
            "img_name,target\na.png,0\u200b\nb.png,\u00a01\u2060\n",
            "targets '0\\u200b' read as real",
        ),
        ("img_name,target\n\u200ba.png,0\nb.png\ufeff,1\n", "pictures found in another spelling"),
    ],
)
def test_what_spreadsheets_and_tools_write_is_read_and_said(
    tmp_path: Path, content: str, note: str
) -> None:
    listed = read(tmp_path, content)
    assert get_labels(listed) == WANTED
    assert any(note in said for said in listed.notes), listed.notes


def test_lines_before_the_header_count_in_the_numbers_of_lines(tmp_path: Path) -> None:
    text = "# one\n\nimg_name;target\na.png;0\nb.png;2\n"
    assert refuse(tmp_path, text).problems[0].startswith("line 5: target '2'")
    assert refuse(tmp_path, "# one\nimg_name,x\na.png,0\n").problems[0].startswith("line 2: no ")
    assert read(tmp_path, "# img_name,target\na.png,0\n").rows["line"].tolist() == [2]


def test_a_column_may_begin_with_a_hash(tmp_path: Path) -> None:
    text = "#name,target\na.png,0\nb.png,1\n"
    assert get_labels(read(tmp_path, text, columns={"name": "#name"})) == WANTED


@pytest.mark.parametrize("target", ["0.3", "1e0", "0,5", "-1.0", "01.0"])
def test_a_number_that_is_no_class_stays_refused(tmp_path: Path, target: str) -> None:
    error = refuse(tmp_path, f'img_name,target\na.png,0\nb.png,"{target}"\n')
    assert error.problems == [f"line 3: target {target!r} is none of 0, 1 (data.classes)"]


@pytest.mark.parametrize("real", [[0], 0, ["0"], [0.0], "0.0"])
def test_classes_may_be_numbers(tmp_path: Path, real: Any) -> None:
    for cells in ("0", "0.0"):
        text = f"img_name,target\na.png,{cells}\nb.png,1\n"
        assert get_labels(read(tmp_path, text, classes={"real": real, "fake": [1]})) == WANTED


def test_a_spelling_that_fits_both_classes_is_read_exactly_or_not_at_all(tmp_path: Path) -> None:
    classes = {"real": ["a"], "fake": ["A"]}
    assert (
        get_labels(read(tmp_path, "img_name,target\na.png,a\nb.png,A\n", classes=classes)) == WANTED
    )
    error = refuse(
        tmp_path, "img_name,target\na.png,1\n", classes={"real": ["1.0"], "fake": ["1,0"]}
    )
    assert error.problems == ["line 2: target '1' is none of 1.0, 1,0 (data.classes)"]


@pytest.mark.fault(
    "other columns and classes",
    "error with the lines of `params.yaml` that read them",
    "Label files",
)
@pytest.mark.parametrize(
    "content",
    [
        "filename,label\na.png,REAL\nb.png,FAKE\n",
        "image;class\na.png;Genuine\nb.png;spoof\n",
        "label\tpath\noriginal\ta.png\nmanipulated\tb.png\n",
        "img_name,target\na.png,real\nb.png,fake\n",
        "filename,label\na.png,0\nb.png,1\n",
        "file,is_fake\na.png,False\nb.png,True\n",
        "file,is_real\na.png,1\nb.png,0\n",
    ],
)
def test_other_columns_and_words_are_refused_with_the_lines_that_read_them(
    tmp_path: Path, content: str
) -> None:
    data = {"columns": {"generator": "generator"}, "group_columns": ["source"]}
    error = refuse(tmp_path, content, **({} if content[:4] == "img_" else data))
    lines = str(error).partition("say in params.yaml:\n")[2]
    said = yaml.safe_load(lines)["data"]
    assert get_labels(read(tmp_path, content, **said)) == WANTED


def test_where_nothing_says_which_class_is_real_both_lines_are_offered(tmp_path: Path) -> None:
    error = refuse(tmp_path, "img_name,target\na.png,left\nb.png,right\n")
    for real, fake in (("left", "right"), ("right", "left")):
        assert f"  classes: {{real: [{real}], fake: [{fake}]}}   # if {real!r} is real" in str(
            error
        )


@pytest.mark.fault(
    "names of another machine, case, ending or spelling",
    "found where one picture alone is meant, else an error with all",
    "Label files",
)
@pytest.mark.parametrize(
    ("name", "picture", "how"),
    [
        ("a", "a.png", "with another ending"),
        ("a.PNG", "a.png", "in another case"),
        ("A.JPG", "a.png", "with another ending"),
        ("a.mp4", "a.png", "with another ending"),
        ("sub\\a.png", "sub/a.png", "read as /"),
        ("my%20picture.png", "my picture.png", "in another spelling"),
        ("my picture.png", "my%20picture.png", "in another spelling"),
        ("e\u0301.png", "é.png", "in another spelling"),
        ("/kaggle/input/x/trainset/a.png", "a.png", "by the end of their path"),
        ("C:\\Users\\me\\pictures\\a.png", "a.png", "by the end of their path"),
        ("../trainset/sub/a.png", "sub/a.png", "by the end of their path"),
        ("pictures/a.png", "a.png", "by the end of their path"),
        ("/content/drive/A.PNG", "a.png", "by the end of their path"),
    ],
)
def test_a_name_that_one_picture_alone_can_have_is_found_and_said(
    tmp_path: Path, name: str, picture: str, how: str
) -> None:
    listed = read(tmp_path, f"img_name,target\n{name},1\nz.png,0\n", (picture, "z.png"))
    assert get_labels(listed) == {picture: 1, "z.png": 0}
    assert listed.rows["img_name"].tolist() == [name, "z.png"]  # as the list has it
    assert any(how in note and note.endswith(": 1") for note in listed.notes), listed.notes


@pytest.mark.fault("names of another machine, case, ending or spelling")
@pytest.mark.parametrize(
    ("name", "pictures"),
    [
        ("a", ("a.jpg", "a.png")),
        ("A.PNG", ("a.png", "a.Png")),
        ("/home/me/sub/a.png", ("a.png", "sub/a.png")),
        ("a.tif", ("a.jpg", "a.png")),
    ],
)
def test_a_name_that_several_pictures_can_have_is_refused_with_all(
    tmp_path: Path, name: str, pictures: tuple[str, ...]
) -> None:
    error = refuse(tmp_path, f"img_name,target\n{name},1\n", pictures=pictures)
    both = " or ".join(repr(picture) for picture in sorted(pictures))
    assert error.problems == [f"line 2: {name!r} may mean {both}: write which"]


def test_a_picture_is_meant_by_one_name_alone(tmp_path: Path) -> None:
    """One that a line names exactly is no guess for another line, and two guesses are refused."""
    listed = read(tmp_path, "img_name,target\na.png,0\na.jpg,1\n", ("a.png",))
    assert get_labels(listed) == {"a.png": 0, "a.jpg": 1}
    assert "names that are no picture: 1, such as 'a.jpg'" in listed.notes[0]
    error = refuse(tmp_path, "img_name,target\nA.png,0\nA,1\n", pictures=("a.png",))
    assert error.problems == ["line 3: 'A' means the picture 'a.png', as line 2 does"]


def test_paths_of_another_machine_are_refused_with_their_common_beginning(tmp_path: Path) -> None:
    text = "img_name,target\n/kaggle/in/train/x.png,0\n/kaggle/in/train/sub/y.png,1\n"
    error = refuse(tmp_path, text)
    assert error.problems == [
        "line 2: '/kaggle/in/train/x.png' is outside the data root",
        "line 3: '/kaggle/in/train/sub/y.png' is outside the data root",
    ]
    assert "They begin with '/kaggle/in/train', and no end of their paths" in str(error)
    assert f"below {tmp_path / 'pictures'} lie 2 files, such as 'a.png'" in str(error)


def test_names_that_are_no_picture_are_said_with_what_lies_there(tmp_path: Path) -> None:
    (note,) = read(tmp_path, "img_name,target\nx.png,0\ny.png,1\n").notes
    folder = tmp_path / "pictures"
    assert note == (
        "names that are no picture: 2, such as 'x.png'; "
        f"below {folder} lie 2 files, such as 'a.png'"
    )


METADATA = {
    "a.png": {"label": "REAL", "split": "train"},
    "b.png": {"label": "FAKE", "split": "train", "original": "a.png"},
    "c.mp4": {"label": "FAKE", "split": "train", "original": "gone.mp4"},
}


@pytest.mark.fault(
    "semicolons, tabs, comments first, `1.0` for `1`, invisible characters, Parquet, DFDC's "
    "metadata",
)
def test_metadata_of_dfdc_are_a_list_whose_originals_are_groups(tmp_path: Path) -> None:
    pictures = ("a.png", "b.png", "c.png")
    listed = read(tmp_path, json.dumps(METADATA), pictures, "metadata.json")
    assert get_labels(listed) == {"a.png": 0, "b.png": 1, "c.png": 1}
    assert listed.rows["original"].tolist() == ["a.png", "a.png", "gone.mp4"]
    assert "read as metadata in JSON" in listed.notes[0]
    bad = METADATA | {"d.png": {"label": "MAYBE"}}
    error = refuse(tmp_path, json.dumps(bad), name="metadata.json")
    assert error.problems == ["entry 4: target 'MAYBE' is none of 0, 1 (data.classes)"]


@pytest.mark.parametrize("content", ["{", '{"a.png": 0}', "[" * 100_000, '{"a": ' * 100_000])
def test_other_json_is_refused(tmp_path: Path, content: str) -> None:
    assert refuse(tmp_path, content, name="metadata.json").problems


@pytest.mark.fault(
    "semicolons, tabs, comments first, `1.0` for `1`, invisible characters, Parquet, DFDC's "
    "metadata",
)
def test_a_parquet_table_is_read(tmp_path: Path) -> None:
    table = pd.DataFrame({"img_name": ["a.png", "b.png"], "target": [0.0, 1.0], "n": [1, None]})
    table.to_parquet(tmp_path / "made.parquet")
    content = (tmp_path / "made.parquet").read_bytes()
    listed = read(tmp_path, content, name="list.txt")
    assert get_labels(listed) == WANTED
    assert listed.notes[0] == "read as Parquet"
    table["target"] = [0, 7]
    table.to_parquet(tmp_path / "made.parquet")
    error = refuse(tmp_path, (tmp_path / "made.parquet").read_bytes())
    assert error.problems == ["row 2: target '7' is none of 0, 1 (data.classes)"]
    assert "no whole Parquet file" in refuse(tmp_path, content[:-20]).problems[0]


@pytest.mark.parametrize("word", ["NA", "nan", "NaN", "NULL", "None", "n/a", "#N/A", "<NA>"])
def test_words_for_nothing_are_no_group_unit_generator_or_source(tmp_path: Path, word: str) -> None:
    cells = ",".join([word] * 4)
    text = f"img_name,target,tile,clip,by,site\na.png,0,{cells}\nb.png,1,{cells}\nc.png,1,t,c,g,s\n"
    options: dict[str, Any] = {
        "group_columns": ["tile", "by"],
        "columns": {"unit": "clip", "generator": "by", "source": "site"},
    }
    listed = read(tmp_path, text, ("a.png", "b.png", "c.png"), **options)
    for column, value in (("group:tile", "t"), ("unit", "c"), ("generator", "g"), ("source", "s")):
        assert listed.rows[column].tolist() == ["", "", value]
    names = ("by", "clip", "site", "tile")
    told = [f"{word!r} in column {name!r} read as empty: 2" for name in names]
    assert sorted(listed.notes) == told


def test_a_value_to_hold_out_is_that_of_the_list(tmp_path: Path) -> None:
    make_pictures(tmp_path, *PICTURES)
    (tmp_path / "list.csv").write_text("img_name,target,by\na.png,0,none\nb.png,1,gan\n")
    data = Data.model_validate({"root": str(tmp_path), "columns": {"generator": "by"}})
    files = RoleFiles(labels="list.csv", images="pictures")
    rows = read_labels(data, files, True, ["by"]).rows
    assert rows["hold:by"].tolist() == ["none", "gan"]
    assert rows["generator"].tolist() == ["", "gan"]


@pytest.mark.parametrize("nothing", [float("nan"), "NaN", "null", ""])
def test_a_picture_without_an_original_is_its_own(tmp_path: Path, nothing: Any) -> None:
    entries = METADATA | {"a.png": {"label": "REAL", "original": nothing}}
    listed = read(tmp_path, json.dumps(entries), ("a.png", "b.png", "c.png"), "metadata.json")
    assert listed.rows["original"].tolist() == ["a.png", "a.png", "gone.mp4"]
    said = any("in column 'original' read as empty: 1" in note for note in listed.notes)
    assert said == bool(nothing)


def write_parquet(path: Path, **columns: Any) -> bytes:
    pq.write_table(pa.table({"img_name": ["a.png", "b.png"], **columns}), path)
    return path.read_bytes()


def test_columns_of_a_table_that_nobody_reads_may_hold_anything(tmp_path: Path) -> None:
    more = {"box": [[1, 2], [3, 4]], "code": [b"\xff\xfe", b"a"], "box.x": [{"y": 1}, None]}
    content = write_parquet(tmp_path / "made.parquet", target=[0, 1], **more)
    assert get_labels(read(tmp_path, content)) == WANTED
    assert "no column 'id'" in refuse(tmp_path, content, columns={"name": "id"}).problems[0]


def test_columns_of_a_table_that_cannot_be_text_are_all_named(tmp_path: Path) -> None:
    columns = {"box": [[1, 2], [3, 4]], "code": [b"\xff\xfe", b"a"]}
    content = write_parquet(tmp_path / "made.parquet", target=[0, 1], **columns)
    problems = refuse(tmp_path, content, group_columns=["code", "box"]).problems
    assert [problem.partition(" text: ")[0] for problem in problems] == [
        "row 1: column 'box' cannot be read as",
        "row 1: column 'code' cannot be read as",
    ]


@pytest.mark.parametrize("field", ["name", "label", "original", "photo"])
def test_half_a_character_in_metadata_is_told_with_its_entry(tmp_path: Path, field: str) -> None:
    facts = {"label": "FAKE", "original": "a.png", "photo": "p", "note": "\ud800"}
    entries = {"a.png": {"label": "REAL", "photo": "p", "\udfff": 1}}
    entries["\ud800.png" if field == "name" else "b.png"] = facts | {field: "\ud800.png"}
    error = refuse(tmp_path, json.dumps(entries), name="a.json", group_columns=["photo"])
    assert error.problems == ["entry 2: '\\ud800.png' is no valid text: it has half a character"]
    del entries["b.png" if field != "name" else "\ud800.png"]
    content = json.dumps(entries | {"b.png": facts})
    assert get_labels(read(tmp_path, content, name="a.json")) == WANTED


@pytest.mark.parametrize(
    ("content", "kind"), [(b"PK\x03\x04...", "Excel workbook"), (b"\x1f\x8b...", "compressed")]
)
def test_other_files_are_named_for_what_they_are(tmp_path: Path, content: bytes, kind: str) -> None:
    assert kind in refuse(tmp_path, content).problems[0]
