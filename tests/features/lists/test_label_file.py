"""Label files: what is accepted, and what each bad line is told."""

import csv
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import ManifestError
from features.lists.file_names import find_path_problem
from features.lists.label_file import list_group_keys, read_labels
from features.settings.data import Data, RoleFiles

FILES = RoleFiles(labels="list.txt", images="pictures")
GOOD = "img_name,target\na.jpg,0\nb.jpg,1\n"


def read(
    root: Path, content: str | bytes, labelled: bool = True, **data: Any
) -> tuple[pd.DataFrame, int]:
    (root / "list.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_labels(Data(root=str(root), **data), FILES, labelled)[:2]


def find_problems(root: Path, content: str | bytes, **options: Any) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        read(root, content, **options)
    assert str(root / "list.txt") in str(caught.value)
    return caught.value.problems


def test_rows_hold_line_name_path_and_label(tmp_path: Path) -> None:
    rows, repeated = read(tmp_path, GOOD)
    assert rows[["line", "img_name", "path", "label"]].values.tolist() == [
        [2, "a.jpg", "pictures/a.jpg", 0],
        [3, "b.jpg", "pictures/b.jpg", 1],
    ]
    assert repeated == 0


def test_a_list_without_labels_needs_the_name_alone(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, "img_name\na.jpg\n", labelled=False)
    assert rows[["img_name", "label"]].values.tolist() == [["a.jpg", -1]]


def test_a_folder_for_a_label_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "list.txt").mkdir()
    with pytest.raises(ManifestError, match="no such file"):
        read_labels(Data(root=str(tmp_path)), FILES, True)


@pytest.mark.fault("a folder, a pipe or a device where a picture should be")
@pytest.mark.timeout(10)
def test_a_pipe_for_a_label_file_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "list.txt")
    with pytest.raises(ManifestError, match="no such file"):
        read_labels(Data(root=str(tmp_path)), FILES, True)


@pytest.mark.fault(
    "a name that leads out of the data (`../`, absolute, `C:\\x`, NUL, too long)",
    "error with its line, before any picture is opened",
    "Pictures",
)
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("../../etc/passwd", "outside the data root"),
        ("sub/../../x.jpg", "outside the data root"),
        ("/etc/passwd", "outside the data root"),
        ("a\0.jpg", "null byte"),
        ("C:\\x", "outside the data root"),
        ("..\\x", "outside the data root"),
        ("x" * 300, "longer than 255"),
        ("sub/" + "é" * 128, "longer than 255"),
        ("", "no file name"),
        (".", "no file name"),
    ],
)
def test_a_name_that_may_not_be_opened_is_told_with_its_line(
    tmp_path: Path, name: str, problem: str
) -> None:
    (found,) = find_problems(tmp_path, f"img_name,target\nok.jpg,0\n{name},1\n")
    assert found.startswith("line 3: ")
    assert problem in found


@pytest.mark.parametrize(
    "name", ["sub/a.jpg", "x" * 255, "..a.jpg", "a..jpg", "C:x.jpg", "é 字.jpg"]
)
def test_an_odd_name_that_stays_inside_is_accepted(tmp_path: Path, name: str) -> None:
    rows, _ = read(tmp_path, f"img_name,target\n{name},1\n")
    assert rows["path"].tolist() == [f"pictures/{name}"]


@pytest.mark.fault(
    "a byte order mark, CRLF, no last line end, spaces",
    "read as if they were not there",
    "Label files",
)
@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.replace("\n", "\r\n").encode(),
        GOOD.replace("\n", "\r").encode(),
        GOOD.rstrip("\n").encode(),
        GOOD.replace("\n", " \t\n").encode(),
        GOOD.replace(",", " , ").encode(),
        GOOD.encode() + b"\n  \n,\n",
        b'"img_name","target"\n"a.jpg","0"\n"b.jpg","1"\n',
    ],
    ids=["BOM", "CRLF", "CR", "no final newline", "trailing", "padded", "blank lines", "quoted"],
)
def test_marks_line_ends_and_spaces_change_no_row(tmp_path: Path, content: bytes) -> None:
    wanted, _ = read(tmp_path, GOOD)
    found, _ = read(tmp_path, content)
    pd.testing.assert_frame_equal(found, wanted)


@pytest.mark.fault("UTF-16 or Latin-1", "error with encoding and line", "Label files")
@pytest.mark.parametrize(
    ("content", "line", "encoding"),
    [
        (GOOD.encode("utf-16"), 1, "UTF-16"),
        (b"\xfe\xff" + GOOD.encode("utf-16-be"), 1, "UTF-16"),
        (GOOD.replace("b.jpg", "é.jpg").encode("latin-1"), 3, "Latin-1"),
    ],
)
def test_another_encoding_is_named_with_its_line(
    tmp_path: Path, content: bytes, line: int, encoding: str
) -> None:
    (problem,) = find_problems(tmp_path, content)
    assert problem.startswith(f"line {line}: ")
    assert encoding in problem


@pytest.mark.fault(
    "fields too many or too few, a delimiter that is none, a doubled or missing column",
    "error with its line",
    "Label files",
)
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("img_name,target\na.jpg,0\nb.jpg,1,x\n", "line 3: 3 fields instead of 2"),
        ("img_name,target\na.jpg,0\nb.jpg\n", "line 3: 1 fields instead of 2"),
        ("img_name,target,target\na.jpg,0,0\n", "line 1: column 'target' stands twice"),
        ("img_name,label\na.jpg,0\n", "line 1: no column 'target'"),
        ("img_nam,target\na.jpg,0\n", "line 1: no column 'img_name'; did you mean img_nam?"),
        ('img_name,target\na.jpg,0\n"b.jpg,1\n', "line 3: unexpected end of data"),
        ("a.jpg,0\nb.jpg,1\n", "line 1: no column 'img_name'"),
    ],
    ids=["extra", "short", "twice", "missing", "misspelt", "open quote", "no header"],
)
def test_a_bad_line_is_named(tmp_path: Path, content: str, problem: str) -> None:
    assert any(found.startswith(problem) for found in find_problems(tmp_path, content))


@pytest.mark.fault(
    "fields too many or too few, a delimiter that is none, a doubled or missing column",
)
@pytest.mark.parametrize("delimiter", [" ", ":"])
def test_another_delimiter_is_told_as_missing_columns(tmp_path: Path, delimiter: str) -> None:
    problems = find_problems(tmp_path, GOOD.replace(",", delimiter))
    assert [p[:19] for p in problems] == ["line 1: no column '"] * 2


def test_a_column_that_is_not_used_may_stand_twice(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, "img_name,target,note,note\na.jpg,0,x,y\n")
    assert rows["img_name"].tolist() == ["a.jpg"]


@pytest.mark.fault("the same row twice", "dropped and counted", "Label files")
def test_a_repeated_row_is_dropped_and_counted(tmp_path: Path) -> None:
    rows, repeated = read(tmp_path, GOOD + "a.jpg,0\na.jpg,0\n")
    assert rows["img_name"].tolist() == ["a.jpg", "b.jpg"]
    assert repeated == 2


@pytest.mark.parametrize("again", ["./a.jpg", ".//a.jpg", ".\\a.jpg"])
def test_a_file_in_another_spelling_is_a_repeated_row(tmp_path: Path, again: str) -> None:
    rows, repeated = read(tmp_path, f"{GOOD}{again},0\n")
    assert rows["img_name"].tolist() == ["a.jpg", "b.jpg"]
    assert repeated == 1
    (problem,) = find_problems(tmp_path, f"{GOOD}{again},1\n")
    assert problem == f"line 4: {again!r} has another target than 'a.jpg' in line 2"


@pytest.mark.fault("the same row under both labels", "error with both lines", "Label files")
def test_conflicting_targets_name_both_lines(tmp_path: Path) -> None:
    (problem,) = find_problems(tmp_path, GOOD + "a.jpg,1\n")
    assert problem == "line 4: 'a.jpg' has another target than in line 2"


def test_a_repeated_row_with_another_source_would_lose_a_group_link(tmp_path: Path) -> None:
    content = "img_name,target,source\na.jpg,0,x\na.jpg,0,y\na.jpg,0,x\n"
    (problem,) = find_problems(tmp_path, content, group_columns=("source",))
    assert (
        problem == "line 3: 'a.jpg' has another weight, generator, source or group than in line 2"
    )


@pytest.mark.fault(
    "an unknown or empty target",
    "error that quotes it with its line; only `params.yaml` maps targets",
    "Label files",
)
@pytest.mark.parametrize("target", ["", "NaN", "2", "fake ", "0.3", "-1", "True", "01"])
def test_an_unknown_target_is_quoted_with_its_line(tmp_path: Path, target: str) -> None:
    (problem,) = find_problems(tmp_path, GOOD + f"c.jpg,{target}\n")
    assert problem.startswith(f"line 4: target {target.strip()!r} is none of 0, 1")


@pytest.mark.fault("an unknown or empty target")
def test_targets_are_mapped_by_params_alone(tmp_path: Path) -> None:
    classes = {"real": ("real", "bona-fide"), "fake": ("fake",)}
    text = "img_name,target\na,real\nb,fake \nc,bona-fide\n"
    rows, _ = read(tmp_path, text, classes=classes)
    assert rows["label"].tolist() == [0, 1, 0]
    assert len(find_problems(tmp_path, GOOD, classes=classes)) == 2


def test_names_like_numbers_stay_text(tmp_path: Path) -> None:
    names = ["007", "NA", "1e5", "null", "None", "1.0", "-0", "inf", "TRUE", "=cmd"]
    rows, _ = read(tmp_path, "img_name,target\n" + "".join(f"{name},1\n" for name in names))
    assert rows["img_name"].tolist() == names


@pytest.mark.fault(
    "an empty label file",
    "error; a list of nothing to label is accepted",
    "Label files",
)
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "the file is empty"),
        (" \r\n\n", "the file is empty"),
        ("\ufeff", "line 1: no column 'img_name'"),
        ("img_name,target\n", "there is no row below the header"),
        ("img_name,target\n\n,\n", "there is no row below the header"),
    ],
)
def test_a_file_without_rows_is_refused(tmp_path: Path, content: str, problem: str) -> None:
    assert find_problems(tmp_path, content)[0].startswith(problem)


def test_a_list_of_nothing_to_label_is_accepted(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, "img_name\n", labelled=False)
    assert len(rows) == 0


def test_all_problems_of_a_file_are_told_together(tmp_path: Path) -> None:
    lines = [
        "../x.jpg,0",
        "a.jpg,2",
        "b.jpg",
        "c.jpg,0",
        "c.jpg,1",
        *[f"/d{i}.jpg,0" for i in range(20)],
    ]
    with pytest.raises(ManifestError) as caught:
        read(tmp_path, "img_name,target\n" + "\n".join(lines))
    assert len(caught.value.problems) == 24
    text = str(caught.value)
    assert "24 problems" in text
    assert [f"line {n}:" in text for n in (2, 3, 4, 6, 12, 13)] == [True] * 5 + [False]
    assert "… and 14 more" in text


def test_weights_of_losses_and_of_draws_come_from_columns_of_their_own(tmp_path: Path) -> None:
    text = "img_name,target,often,w\na.jpg,0,3,2.5\nb.jpg,1,0.5,1\n"
    columns = {"weight": "w", "draw_weight": "often"}
    rows, _ = read(tmp_path, text, columns=columns)
    assert rows["weight"].tolist() == [2.5, 1.0]
    assert rows["draw_weight"].tolist() == [3.0, 0.5]
    (problem,) = find_problems(tmp_path, text.replace("0.5", "none"), columns=columns)
    assert problem.startswith("line 3: weight 'none'")


def test_weights_may_have_decimal_commas(tmp_path: Path) -> None:
    text = "img_name;target;w\na.jpg;0;2,5\nb.jpg;1;0,5\n"
    assert read(tmp_path, text, columns={"weight": "w"})[0]["weight"].tolist() == [2.5, 0.5]


@pytest.mark.parametrize("weight", ["0", "-1", "nan", "inf", "", "heavy"])
def test_a_weight_must_be_a_positive_number(tmp_path: Path, weight: str) -> None:
    text = f"img_name,target,w\na.jpg,0,2.5\nb.jpg,1,{weight}\n"
    (problem,) = find_problems(tmp_path, text, columns={"weight": "w"})
    assert problem.startswith(f"line 3: weight {weight!r}")


def test_optional_columns_are_read_by_name(tmp_path: Path) -> None:
    text = "w,path,made_by,target,site,img_name\n2.5,src1,gan,1,7,a.jpg\n1,,,0,,b.jpg\n"
    data = Data(
        root=str(tmp_path),
        columns={"weight": "w", "generator": "made_by", "source": "site"},
        group_columns=("path", "made_by"),
    )
    (tmp_path / "list.txt").write_text(text)
    rows = read_labels(data, FILES, True).rows
    assert rows["weight"].tolist() == [2.5, 1.0]
    assert rows["generator"].tolist() == ["gan", ""]
    assert rows["source"].tolist() == ["7", ""]
    assert rows["path"].tolist() == ["pictures/a.jpg", "pictures/b.jpg"]
    assert rows[list_group_keys(data)].values.tolist() == [["src1", "gan"], ["", ""]]


def test_a_missing_group_column_is_told(tmp_path: Path) -> None:
    (problem,) = find_problems(tmp_path, GOOD, group_columns=("source",))
    assert problem.startswith("line 1: no column 'source'")


def test_units_are_read_and_keep_rows_together(tmp_path: Path) -> None:
    data = Data(root=str(tmp_path), columns={"unit": "clip"})
    (tmp_path / "list.txt").write_text("img_name,target,clip\na.jpg,1,c1\nb.jpg,0,\n")
    rows = read_labels(data, FILES, True).rows
    assert rows["unit"].tolist() == ["c1", ""]
    assert list_group_keys(data) == ["unit"]
    (problem,) = find_problems(tmp_path, GOOD, columns={"unit": "clip"})
    assert problem.startswith("line 1: no column 'clip'")


def test_a_list_without_labels_may_lack_units_and_that_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = Data(root=str(tmp_path), columns={"unit": "clip"})
    (tmp_path / "list.txt").write_text("clip,img_name\nc1,a.jpg\n,b.jpg\n")
    assert read_labels(data, FILES, False)[0]["unit"].tolist() == ["c1", ""]
    (tmp_path / "list.txt").write_text("img_name\na.jpg\n")
    with caplog.at_level("INFO", logger="forgerystack"):
        assert read_labels(data, FILES, False)[0]["unit"].tolist() == [""]
    assert "has no column 'clip': each image is a unit of its own" in caplog.text


PIECES = [
    *(b"img_name", b"target", b"a.jpg", b"b.jpg", b"0", b"1", b"2", b",", b",", b"\n", b"\n"),
    *(b"\r", b'"', b" ", b"\0", b"/", b"..", b"\\", b"\xef\xbb\xbf", b"\xff\xfe", "é".encode()),
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join)
CONTENTS = st.one_of(
    st.binary(max_size=200),
    st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join),
    st.lists(st.sampled_from(PIECES), max_size=40).map(
        lambda p: b"img_name,target\n" + b"".join(p)
    ),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("labels")


@settings(max_examples=500, deadline=None, derandomize=True)
@given(content=CONTENTS, labelled=st.booleans())
def test_any_bytes_give_sound_rows_or_a_clear_error(
    folder: Path, content: bytes, labelled: bool
) -> None:
    try:
        rows, _ = read(folder, content, labelled)
    except ManifestError:
        return
    assert not any(find_path_problem(path) for path in rows["path"])
    assert rows["img_name"].is_unique
    assert set(rows["label"]) <= ({0, 1} if labelled else {-1})
    assert len(rows) or not labelled


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=60)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(names=st.lists(NAMES.map(str.strip), min_size=1, max_size=5, unique=True))
def test_any_name_that_may_be_opened_comes_back_as_it_was(folder: Path, names: list[str]) -> None:
    names = [n for n in names if not find_path_problem(n.replace("\\", "/"))] or ["a"]
    with open(folder / "list.txt", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerows([["img_name", "target"], *([name, 1] for name in names)])
    rows = read_labels(Data(root=str(folder)), FILES, True).rows
    assert rows["img_name"].tolist() == names
