"""Label files in blocks of lines: the same rows and problems as line by line, in little memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.errors import ManifestError
from features.lists import csv_blocks, label_file
from features.lists.label_file import read_labels
from features.settings.data import Data, RoleFiles
from features.splits import names

FILES = RoleFiles(labels="list.txt", images="pictures")

HAIRY = """\ufeffimg_name , target,w,source,camera
a.jpg,0,1,s1,c1
sub//b.jpg, 1 ,2.5,s1,c2

"c
d.jpg",1,1e0,,c1
a.jpg,0,1.0,s1,c1
 , , , ,
./e.jpg,0,1,s2,"c""3"
"""
BROKEN = """img_name,target,w,source,camera
a.jpg,0,1,s1,c1
b.jpg,0,1,s1
../c.jpg,7,1,s1,c1
"d
.jpg",7,heavy,s1,c1
a.jpg,1,1,s1,c1
e.jpg,1,1,s1,c1,
a.jpg,0,1,s1,c2
"f.jpg,1,1,s1,c1
"""
COLUMNS = {"columns": {"weight": "w"}, "group_columns": ("source",)}


def read_camera(root: Path, content: str) -> tuple[pd.DataFrame, int]:
    (root / "list.txt").write_text(content, encoding="utf-8")
    return read_labels(Data(root=str(root), **COLUMNS), FILES, True, ["camera"])[:2]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 100])
def test_rows_are_the_same_in_blocks_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(csv_blocks, "BLOCK", size)
    rows, repeated = read_camera(tmp_path, HAIRY)
    assert repeated == 1
    assert rows.values.tolist() == [
        [2, "a.jpg", "pictures/a.jpg", 0, 1.0, 1.0, "", "", "", "s1", "c1"],
        [3, "sub//b.jpg", "pictures/sub/b.jpg", 1, 2.5, 1.0, "", "", "", "s1", "c2"],
        [6, "c\nd.jpg", "pictures/c\nd.jpg", 1, 1.0, 1.0, "", "", "", "", "c1"],
        [9, "./e.jpg", "pictures/e.jpg", 0, 1.0, 1.0, "", "", "", "s2", 'c"3'],
    ]
    assert list(rows.columns[6:]) == ["generator", "source", "unit", "group:source", "hold:camera"]
    assert [str(rows[name].dtype) for name in ("line", "label", "weight")] == [
        "int64",
        "int8",
        "float64",
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 100])
def test_problems_are_the_same_in_blocks_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(csv_blocks, "BLOCK", size)
    with pytest.raises(ManifestError) as caught:
        read_camera(tmp_path, BROKEN)
    assert caught.value.problems == [
        "line 3: 4 fields instead of 5",
        "line 4: target '7' is none of 0, 1 (data.classes)",
        "line 4: '../c.jpg' is outside the data root",
        "line 6: target '7' is none of 0, 1 (data.classes)",
        "line 6: weight 'heavy' is no positive number",
        "line 7: 'a.jpg' has another target than in line 2",
        "line 8: 6 fields instead of 5",
        "line 9: 'a.jpg' has another weight, generator, source, group or value to hold out than in "
        "line 2",
        "line 10: unexpected end of data",
    ]


@pytest.mark.fault("UTF-16 or Latin-1")
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_bad_byte_far_down_is_told_with_its_line(tmp_path: Path, end: str) -> None:
    lines = ["img_name,target", *(f"{i:06d}.jpg,1" for i in range(70_000)), "é.jpg,1", "z,0"]
    (tmp_path / "list.txt").write_bytes(end.join(lines).encode("latin-1"))
    with pytest.raises(ManifestError) as caught:
        read_labels(Data(root=str(tmp_path)), FILES, True)
    (problem,) = caught.value.problems
    assert problem == "line 70002: no valid UTF-8 (Latin-1 or the like?)"


def test_a_file_of_bad_lines_keeps_the_first_problems_and_counts_all(tmp_path: Path) -> None:
    lines = [f"{i}.jpg,{i % 3}" for i in range(30_000)]
    text = "img_name,target\n" + "\n".join(lines) + "\n0.jpg,1\n"
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(ManifestError) as caught:
        read_labels(Data(root=str(tmp_path)), FILES, True)
    assert caught.value.count == 10_001
    assert "10001 problems" in str(caught.value)
    assert "… and 9991 more" in str(caught.value)
    assert len(caught.value.problems) == csv_blocks.KEPT
    assert caught.value.problems[:2] == [
        f"line {line}: target '2' is none of 0, 1 (data.classes)" for line in (4, 7)
    ]


def test_a_conflict_stands_among_the_other_problems_by_its_line(tmp_path: Path) -> None:
    lines = ["a.jpg,0", "a.jpg,1", *["x.jpg"] * 1000]
    (tmp_path / "list.txt").write_text("img_name,target\n" + "\n".join(lines))
    with pytest.raises(ManifestError) as caught:
        read_labels(Data(root=str(tmp_path)), FILES, True)
    problems = caught.value.problems
    assert problems[0] == "line 3: 'a.jpg' has another target than in line 2"
    assert problems[1] == "line 4: 1 fields instead of 2"


def list_all(names: pd.Series) -> np.ndarray:
    """All positions: as if all names had one hash."""
    return np.arange(len(names))


def test_names_of_one_hash_are_not_taken_for_repeated_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "screen_repeated", list_all)
    (tmp_path / "list.txt").write_text("img_name,target\na.jpg,0\nb.jpg,1\nc.jpg,1\nb.jpg,1\n")
    rows, repeated, _ = read_labels(Data(root=str(tmp_path)), FILES, True)
    assert rows["img_name"].tolist() == ["a.jpg", "b.jpg", "c.jpg"]
    assert repeated == 1


MEASURE = """
import pathlib, sys
from features.lists.label_file import read_labels
from features.settings.data import Data, RoleFiles

def peak():
    return int(pathlib.Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024

data = Data(root=sys.argv[1], columns={"generator": "by"}, group_columns=("source",))
before = peak()
rows = read_labels(data, RoleFiles(labels="list.txt", images="pictures"), True).rows
print((peak() - before) / rows.memory_usage(deep=True).sum())
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks are read from /proc")
def test_a_million_lines_take_at_most_three_times_the_memory_of_their_table(tmp_path: Path) -> None:
    with open(tmp_path / "list.txt", "w", encoding="utf-8") as file:
        file.write("img_name,target,by,source\n")
        for i in range(1_000_000):
            file.write(f"fake/{i // 1000:05d}/{i:08d}.jpg,1,stylegan,video_{i // 3:08d}\n")
    command = [sys.executable, "-c", MEASURE, str(tmp_path)]
    root = Path(label_file.__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert 1 < float(done.stdout) < 3
