"""Shards that are not read as they are: what is wrong with which of them."""

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_shards import write_image_table, write_tar

from features.errors import ManifestError
from features.lists.class_folders import read_role
from features.lists.shard_files import find_shards
from features.settings.data import Data
from features.shards import tables

FILES = {"a.png": b"a" * 600, "a.cls": b"0", "b.png": b"b" * 600, "b.cls": b"1"}


def read(root: Path, images: str = "shards", **settings: Any) -> Any:
    train = {"labels": None, "images": images}
    data = Data.model_validate({"root": str(root), "train": train, **settings})
    return read_role(data, {}, "train")


def refuse(root: Path, images: str = "shards", **settings: Any) -> ManifestError:
    with pytest.raises(ManifestError) as caught:
        read(root, images, **settings)
    return caught.value


def add_special(path: Path, kind: bytes) -> None:
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo("c.png")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def spoil(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place : place + 100] = b"x" * 100
    path.write_bytes(content)


def add_long_header(path: Path) -> None:
    """A name of 3 MB, which costs memory before anybody sees it."""
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo("n" * 3_000_000)
        archive.addfile(member, io.BytesIO())


def compress(path: Path) -> None:
    path.write_bytes(gzip.compress(path.read_bytes()))


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (
            lambda path: add_special(path, tarfile.SYMTYPE),
            "1 links, devices or the like, such as 'c.png'",
        ),
        (lambda path: add_special(path, tarfile.LNKTYPE), "1 links, devices or the like"),
        (lambda path: add_special(path, tarfile.CHRTYPE), "1 links, devices or the like"),
        (lambda path: cut(path, 900), "cut short in 'a.png'"),
        (lambda path: cut(path, 1536), "cut short after 'a.png', the end is missing"),
        (lambda path: spoil(path, 1536), "damaged after 'a.png', there is no header"),
        (lambda path: spoil(path, 0), "no whole tar archive"),
        (add_long_header, "no whole tar archive: a header of 3,000,"),
        (compress, "compressed (gzip); files in a compressed archive cannot be opened one by one"),
        (lambda path: path.write_bytes(b""), "no whole tar archive"),
    ],
)
def test_a_damaged_tar_is_named_with_what_is_wrong(
    tmp_path: Path, spoil: Callable[[Path], Any], problem: str
) -> None:
    write_tar(tmp_path / "shards/1.tar", {"d.png": b"d", "d.cls": b"1"})
    spoil(write_tar(tmp_path / "shards/0.tar", FILES))
    error = refuse(tmp_path)
    assert error.count == 1
    assert error.problems[0].startswith(f"shards/0.tar: {problem}")


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"../a.png": b"a"}, "shards/0.tar: '../a.png' is outside the data root"),
        ({"/etc/a.png": b"a"}, "shards/0.tar: '/etc/a.png' is outside the data root"),
        ({"a.png": b"a", "./a.png": b"b", "a.cls": b"1"}, "'0.tar/a.png' stands twice"),
        ({"a.png": b"a"}, "shards: no column 'target'"),
        ({"a.png": b"a", "b.png": b"b", "a.cls": b"1"},
         "shards/0.tar: 'b.png': target '' is none of 0, 1 (data.classes)"),
        ({"a.png": b"a", "a.cls": b"2"},
         "shards/0.tar: 'a.png': target '2' is none of 0, 1 (data.classes)"),
        ({"a.png": b"a", "a.json": b"{"}, "shards/0.tar: 'a.json' cannot be read: Expecting"),
        ({"a.png": b"a", "a.json": rb'{"target": "\ud800"}'},
         "shards/0.tar: 'a.json': target is no single value"),
        ({"\udce7.png": b"a", "\udce7.cls": b"1"}, r"shards/0.tar: '\udce7.png' is no valid UTF-8"),
        ({"a.png": b"a", "a.json": b'{"target": [1]}'},
         "shards/0.tar: 'a.json': target is no single value"),
        ({"a.png": b"a", "a.json": b" " * (1 << 20) + b"{}"},
         "shards/0.tar: 'a.json' has more than 1,048,576 bytes"),
        ({"a.txt": b"a"}, "there is no picture in the shards"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_members_is_told(
    tmp_path: Path, members: dict[str, bytes], problem: str
) -> None:
    write_tar(tmp_path / "shards/0.tar", members)
    assert refuse(tmp_path).problems[0].startswith(problem)


def test_several_pictures_of_one_label_are_refused_in_all_shards(tmp_path: Path) -> None:
    one = {"a.png": b"a", "a.cls": b"1", "a.mask.png": b"m"}
    write_tar(tmp_path / "shards/0.tar", one | {"b.png": b"b", "b.jpg": b"j", "b.cls": b"0"})
    write_tar(tmp_path / "shards/1.tar", {f"c/{name}": content for name, content in one.items()})
    first, second = refuse(tmp_path).problems
    told = "keys with several pictures: 2, such as 'a.png' and 'a.mask.png': leave all but one"
    assert first.startswith(f"shards/0.tar: {told}")
    assert second.startswith("shards/1.tar: keys with several pictures: 1, such as 'c/a.png'")


def test_pictures_of_one_key_that_have_labels_of_their_own_are_rows(tmp_path: Path) -> None:
    members = {"a.png": b"a", "a.cls": b"0", "a.edited.png": b"e", "a.edited.cls": b"1"}
    write_tar(tmp_path / "shards/0.tar", members)
    assert read(tmp_path).rows["label"].tolist() == [1, 0]


def test_fields_of_other_names_are_told_with_the_lines_that_read_them(tmp_path: Path) -> None:
    facts = json.dumps({"label": "REAL"}).encode()
    write_tar(tmp_path / "shards/0.tar", {"a.png": b"a", "a.json": facts})
    assert "  columns: {name: img_name, target: label}" in refuse(tmp_path).advice


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({}, "shards: no column 'target'"),
        ({"target": [0], "more": [b"x"]}, "shards/0.parquet: one column must hold files' contents "
         "(binary, or a struct with bytes): image, more"),
        ({"target": [[0]]}, "shards/0.parquet: column 'target' cannot be read as text"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_table_is_told(
    tmp_path: Path, columns: dict[str, Any], problem: str
) -> None:
    write_image_table(tmp_path / "shards/0.parquet", [b"a"], columns)
    assert refuse(tmp_path).problems[0].startswith(problem)


def test_all_damaged_tables_are_named(tmp_path: Path) -> None:
    for number in (0, 1):
        path = tmp_path / f"shards/{number}.parquet"
        write_image_table(path, [b"a"], {"target": [0]})
        cut(path, path.stat().st_size - 5)
    error = refuse(tmp_path)
    assert [p.partition(":")[0] for p in error.problems] == ["shards/0.parquet", "shards/1.parquet"]
    assert all("no whole Parquet table" in problem for problem in error.problems)


def test_a_row_group_that_memory_may_not_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "LARGEST_GROUP", 1000)
    write_image_table(tmp_path / "shards/0.parquet", [b"a" * 999] * 3, {"target": [0] * 3})
    assert "row group 0 has" in refuse(tmp_path).problems[0]


def test_names_of_classes_have_the_last_word(tmp_path: Path) -> None:
    path = tmp_path / "shards/0.parquet"
    write_image_table(path, [b"a", b"b"], {"target": [0, 1]}, class_names=["ai", "human"])
    error = refuse(tmp_path)
    assert "target 'ai' is none of" in error.problems[0]
    assert "classes: {real: [human], fake: [ai]}" in error.advice
    rows = read(tmp_path, classes={"real": ["human"], "fake": ["ai"]}).rows
    assert rows["label"].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("files", "images", "found"),
    [
        (["a.tar", "b.tar", "sizes.json"], "s", ["s/a.tar", "s/b.tar"]),
        (["a.tar", "a.png"], "s", []),
        (["a.tar", "real/a.png"], "s", []),
        (
            ["train-0.tar", "train-1.tar", "val-0.tar"],
            "s/train-*.tar",
            ["s/train-0.tar", "s/train-1.tar"],
        ),
        (["a.png", "a.tar"], "s/a.tar", ["s/a.tar"]),
        ([".a.tar", "a.parquet"], "s", ["s/a.parquet"]),
    ],
)
def test_which_files_are_shards(
    tmp_path: Path, files: list[str], images: str, found: list[str]
) -> None:
    for name in files:
        path = tmp_path / "s" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert [*find_shards(tmp_path, images, ())] == found


def test_patterns_that_fit_nothing_and_compressed_shards_are_told(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    assert refuse(tmp_path, "s/*.tar").problems == ["no file is called so"]
    (tmp_path / "s/a.tar.gz").touch()
    assert "a.tar.gz: files in a compressed archive" in refuse(tmp_path, "s").problems[0]


def test_a_file_that_is_called_as_those_in_shards_is_refused(tmp_path: Path) -> None:
    for name in ("real/x.tar#at=0,9&member=a.png", "fake/b.png"):
        path = tmp_path / "s" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    assert "files in shards are called so, rename it" in refuse(tmp_path, "s").problems[0]
