"""The command `label`: every picture a row, from wherever it comes, also after an interruption."""

import csv
import io
import json
import os
import tarfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import ConfigError, PictureError, Stopped
from features.runtime.interruption import Interruption
from serving import Ensemble
from serving.label.rows_file import RowsFile
from serving.label.run import LabelTask, run


def read_row_files(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def folder(project: Path) -> Path:
    return project / "data/demo/testset"


def label(bundle: Path, out: Path, *paths: object, **options: object) -> list[dict[str, str]]:
    run(LabelTask(tuple(map(str, paths)), bundle, out, **options))  # type: ignore[arg-type]
    return read_row_files(out)


def test_a_folder_is_labelled_as_the_project_does(
    bundle: Path, folder: Path, project: Path, tmp_path: Path
) -> None:
    rows = label(bundle, tmp_path / "out.csv", folder)
    assert list(rows[0]) == ["img_name", "score", "label", "log_odds", "status"]
    wanted = {row["img_name"]: row for row in read_row_files(project / "artifacts/labels.csv")}
    assert [row["img_name"] for row in rows] == sorted(wanted)
    for row in rows:
        assert float(row["score"]) == pytest.approx(
            float(wanted[row["img_name"]]["score"]), abs=2.5e-6
        )
        assert row["label"] == wanted[row["img_name"]]["label"]
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_log_odds_of_each_network_are_columns(
    bundle: Path, folder: Path, tmp_path: Path, ensemble: Ensemble, pictures: list[Path]
) -> None:
    rows = label(bundle, tmp_path / "out.csv", *pictures[:2], members=True)
    wanted = ensemble.label(pictures[:2], with_members=True)
    assert list(rows[0])[5:] == ["noise-0", "small-0"]
    assert [float(row["noise-0"]) for row in rows] == [
        pytest.approx(row.members["noise-0"], abs=1e-9) for row in wanted
    ]


def test_unreadable_files_keep_their_rows(
    bundle: Path, pictures: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "in/deep").mkdir(parents=True)
    (tmp_path / "in/a, b.jpg").write_bytes(pictures[0].read_bytes())
    (tmp_path / "in/deep/empty.png").write_bytes(b"")
    (tmp_path / "in/deep/no.txt").write_text("hello")
    rows = label(bundle, tmp_path / "out.csv", tmp_path / "in")
    assert [(row["img_name"], row["status"]) for row in rows] == [
        ("a, b.jpg", "ok"),
        ("deep/empty.png", "empty file"),
        ("deep/no.txt", rows[2]["status"]),
    ]
    assert rows[2]["status"].startswith("none of the formats")


def test_lists_and_standard_input_name_files_that_may_be_missing(
    bundle: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (listed := tmp_path / "list.txt").write_text(f"{pictures[0]}\n\n{tmp_path}/none.jpg\n")
    monkeypatch.setattr("sys.stdin", give_input(f"{pictures[1]}\r\n".encode()))
    rows = label(bundle, tmp_path / "out.csv", "-", list_file=listed)
    assert [row["status"] for row in rows] == ["ok", "missing", "ok"]


def give_input(content: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8")


def test_names_of_any_bytes_are_labelled_and_spelt(
    bundle: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder := tmp_path / "in").mkdir()
    for name in (b"latin-\xe9.jpg", "line\u2028break.jpg".encode(), b"two\nlines.jpg"):
        Path(folder, os.fsdecode(name)).write_bytes(pictures[0].read_bytes())
    wanted = {"latin-\\xe9.jpg", "line\u2028break.jpg", "two\nlines.jpg"}
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, path.name)
    for source in (folder, tmp_path / "all.tar"):
        rows = label(bundle, tmp_path / "out.csv", source)
        assert {row["img_name"] for row in rows} == wanted
        assert {row["status"] for row in rows} == {"ok"}
    listed = [p for p in folder.iterdir() if "\n" not in p.name]
    monkeypatch.setattr("sys.stdin", give_input(b"\n".join(os.fsencode(p) for p in listed)))
    rows = label(bundle, tmp_path / "out.csv", "-")
    assert [row["status"] for row in rows] == ["ok", "ok"]


def test_paths_that_are_not_there_are_named_at_once(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="2 problems") as error:
        label(bundle, tmp_path / "out.csv", tmp_path / "a.jpg", tmp_path / "b")
    assert "a.jpg: there is no such file" in str(error.value)


def test_nothing_to_label_says_how(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="there are none"):
        label(bundle, tmp_path / "out.csv")


@pytest.mark.parametrize("ending", [".tar", ".tar.gz"])
def test_shards_give_the_scores_of_their_files(
    bundle: Path, pictures: list[Path], tmp_path: Path, ending: str
) -> None:
    shard = tmp_path / f"shard{ending}"
    with tarfile.open(shard, "w:gz" if ending.endswith("gz") else "w") as archive:
        for i, path in enumerate(pictures[:3]):
            archive.add(path, f"{i}.jpg")
            (note := tmp_path / "note").write_text("{}")
            archive.add(note, f"{i}.json")
    rows = label(bundle, tmp_path / "out.csv", shard)
    direct = label(bundle, tmp_path / "direct.csv", *pictures[:3])
    assert [row["img_name"] for row in rows] == ["0.jpg", "1.jpg", "2.jpg"]
    assert [row["score"] for row in rows] == [row["score"] for row in direct]


@pytest.mark.parametrize("nested", [False, True])
def test_tables_give_the_scores_of_their_files(
    bundle: Path, pictures: list[Path], tmp_path: Path, nested: bool
) -> None:
    contents = [path.read_bytes() for path in pictures[:3]]
    names = ["x", "y", "z"]
    if nested:
        cells = [{"bytes": c, "path": n} for c, n in zip(contents, names, strict=True)]
        table = pa.table({"image": cells, "label": [0, 1, 0]})
    else:
        table = pa.table({"content": contents, "img_name": names})
    pq.write_table(table, tmp_path / "t.parquet")
    rows = label(bundle, tmp_path / "out.csv", tmp_path / "t.parquet")
    direct = label(bundle, tmp_path / "direct.csv", *pictures[:3])
    assert [row["img_name"] for row in rows] == names
    assert [row["score"] for row in rows] == [row["score"] for row in direct]


def test_a_table_without_pictures_and_a_broken_archive_are_refused(
    bundle: Path, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"label": [0]}), tmp_path / "t.parquet")
    with pytest.raises(PictureError, match="one column must hold"):
        label(bundle, tmp_path / "out.csv", tmp_path / "t.parquet")
    (tmp_path / "x.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(PictureError, match="no whole tar archive"):
        label(bundle, tmp_path / "out.csv", tmp_path / "x.tar")


def test_a_submission_has_the_rows_of_its_template(
    bundle: Path, folder: Path, project: Path, tmp_path: Path
) -> None:
    template = project / "artifacts/prediction.txt"
    run(LabelTask((str(folder),), bundle, tmp_path / "s.csv", submission=template))
    found, wanted = (pd.read_csv(path) for path in (tmp_path / "s.csv", template))
    assert list(found.columns) == ["img_name", "y_pred"]
    assert list(found["img_name"]) == list(wanted["img_name"])
    assert (found["y_pred"] - wanted["y_pred"]).abs().max() < 2.5e-6


def test_all_that_a_submission_lacks_is_said_before_anything_is_scored(
    bundle: Path, folder: Path, tmp_path: Path
) -> None:
    (template := tmp_path / "t.csv").write_text("img_name,y_pred\na.jpg,0\nb.jpg,0\n")
    task = LabelTask((str(folder),), bundle, tmp_path / "s.csv", submission=template)
    with pytest.raises(PictureError, match="2 problems") as error:
        run(task)
    assert "b.jpg: no such picture" in str(error.value)
    template.write_text("img_name\na.jpg\na.jpg\n")
    with pytest.raises(PictureError, match=r"'a\.jpg' stands twice"):
        run(task)
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_a_run_that_was_cut_off_goes_on_where_it_was(
    bundle: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = label(bundle, tmp_path / "whole.csv", folder)
    reasons = iter([None] * 9 + ["SIGINT"] * 99)
    monkeypatch.setattr(Interruption, "find_reason", lambda _: next(reasons))
    with pytest.raises(Stopped, match="after 10 of 24 pictures"):
        label(bundle, tmp_path / "out.csv", folder)
    assert not (tmp_path / "out.csv").exists()
    with open(tmp_path / ".out.csv.rows", "ab") as file:
        file.write(b'{"name": "half a row')  # as a kill leaves it
    monkeypatch.undo()
    scored = note_scored(monkeypatch)
    assert label(bundle, tmp_path / "out.csv", folder) == whole
    assert scored == [row["img_name"] for row in whole[10:]]


def note_scored(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the pictures whose rows come, as they do."""
    scored: list[str] = []
    add = RowsFile.add
    monkeypatch.setattr(
        RowsFile, "add", lambda self, row: (scored.append(row.name), add(self, row))[1]
    )
    return scored


def cut_off(
    monkeypatch: pytest.MonkeyPatch, after: int, bundle: Path, out: Path, *paths: Path
) -> None:
    """A run that is stopped once so many pictures were scored."""
    with monkeypatch.context() as changed:
        reasons = iter([None] * (after - 1) + ["SIGINT"])
        changed.setattr(Interruption, "find_reason", lambda _: next(reasons))
        with pytest.raises(Stopped):
            label(bundle, out, *paths)


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_rows_of_other_pictures_of_the_same_names_are_not_kept(
    bundle: Path,
    pictures: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    places, out = [tmp_path / "A", tmp_path / "B"], tmp_path / "out.csv"
    for place, chosen in zip(places, (pictures[:6], pictures[6:12]), strict=True):
        place.mkdir()
        for i, path in enumerate(chosen):
            (place / f"{i}.jpg").write_bytes(path.read_bytes())
            os.utime(place / f"{i}.jpg", (0, 0))
    if kind == "archive":
        for place in places:
            with tarfile.open(place.with_suffix(".tar"), "w") as archive:
                for path in sorted(place.iterdir()):
                    archive.add(path, path.name)
        places = [place.with_suffix(".tar") for place in places]
    cut_off(monkeypatch, 5, bundle, out, places[0])
    assert label(bundle, out, places[1]) == label(bundle, tmp_path / "fresh.csv", places[1])


def test_what_was_mended_or_could_not_be_read_is_looked_at_again_and_nothing_else(
    bundle: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder := tmp_path / "in").mkdir()
    for i, path in enumerate(pictures[:8]):
        (folder / f"{i}.jpg").write_bytes(path.read_bytes())
    (folder / "2.jpg").write_bytes(b"no picture")
    (folder / "4.jpg").unlink()
    (folder / "4.jpg").symlink_to(tmp_path / "later.jpg")
    out = tmp_path / "out.csv"
    cut_off(monkeypatch, 7, bundle, out, folder)
    (folder / "1.jpg").write_bytes(pictures[9].read_bytes())
    (tmp_path / "later.jpg").write_bytes(pictures[4].read_bytes())
    scored = note_scored(monkeypatch)
    cut_off(monkeypatch, 1, bundle, out, folder)
    (folder / "2.jpg").write_bytes(pictures[2].read_bytes())
    rows = label(bundle, out, folder)
    assert scored == ["1.jpg", "2.jpg", "4.jpg", "7.jpg"]
    assert {row["status"] for row in rows} == {"ok"}
    assert rows == label(bundle, tmp_path / "fresh.csv", folder)


def test_rows_of_another_bundle_or_of_other_files_are_not_kept(
    bundle: Path, pictures: list[Path], tmp_path: Path
) -> None:
    out, kept = tmp_path / "out.csv", tmp_path / ".out.csv.rows"
    kept.write_text('{"bundle": "another"}\n{"name": "x"}\n')
    label(bundle, out, *pictures[:2])
    digest = Ensemble.load(bundle).bundle.digest
    row = {"name": "before", "score": 0.5, "label": "real", "log_odds": 0, "status": "ok"}
    lines = [{"bundle": digest, "members": False}, {**row, "members": {}}]
    kept.write_text("".join(json.dumps(line, sort_keys=True) + "\n" for line in lines))
    names = [row["img_name"] for row in label(bundle, out, *pictures[:2])]
    assert names == [str(path) for path in pictures[:2]]


def test_a_place_where_no_file_can_be_is_told_before_the_work(
    bundle: Path, folder: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    for out, told in [
        (tmp_path, "is a folder"),
        (tmp_path / "pipe", "is a device or a pipe"),
        (Path("/proc/out.csv"), "no file can be made in /proc"),
        (Path("/proc/deep/out.csv"), "no file can be made in /proc/deep"),
    ]:
        with pytest.raises(ConfigError, match=told):
            label(bundle, out, folder)
    assert (tmp_path / "pipe").is_fifo()
