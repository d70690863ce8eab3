"""The command `label`: which pictures are taken, what is left out, and what rows look like on a
terminal."""

import csv
import io
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from features.errors import ConfigError, PictureError
from features.runtime import cli
from features.runtime.terminal import speak
from serving import Ensemble
from serving.label.run import LabelTask, run

PROJECT = Path(cli.__file__).parents[2]


def label(bundle: Path, out: Path, *paths: object, list_file: Path | None = None) -> list[str]:
    """Names of the rows."""
    run(LabelTask(tuple(map(str, paths)), bundle, out, list_file))
    with open(out, newline="", encoding="utf-8") as file:
        return [row["img_name"] for row in csv.DictReader(file)]


@pytest.fixture
def few(pictures: list[Path], tmp_path: Path) -> Path:
    """A folder of three pictures."""
    (folder := tmp_path / "in").mkdir()
    for i, path in enumerate(pictures[:3]):
        (folder / f"{i}.jpg").write_bytes(path.read_bytes())
    return folder


@pytest.fixture
def spoken(capsys: pytest.CaptureFixture[str]) -> Iterator[pytest.CaptureFixture[str]]:
    """What the command says on its terminal."""
    with speak("serving.label", "text"):
        yield capsys


# --- what is taken


def test_its_own_result_is_no_picture(
    bundle: Path, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(few)
    for _ in range(2):
        assert label(bundle, Path("found.csv"), ".") == ["0.jpg", "1.jpg", "2.jpg"]
    assert label(bundle, Path("deep/found.csv"), ".") == ["0.jpg", "1.jpg", "2.jpg", "found.csv"]
    assert label(bundle, Path("deep/found.csv"), "../in")[-1] == "found.csv"


def test_no_picture_and_no_list_is_written_over(
    bundle: Path, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (few / "0.jpg").read_bytes()
    (listed := tmp_path / "list.txt").write_text(f"{few}/0.jpg\n")
    monkeypatch.chdir(few)
    with pytest.raises(ConfigError, match=r"0\.jpg is to be read: name another file"):
        label(bundle, Path("0.jpg"), few / "0.jpg")
    with pytest.raises(ConfigError, match="name another file"):
        label(bundle, Path("0.jpg"), ".")
    with pytest.raises(ConfigError, match="name another file"):
        label(bundle, few / "0.jpg", list_file=listed)
    with pytest.raises(ConfigError, match="name another file"):
        label(bundle, listed, few, list_file=listed)
    assert (few / "0.jpg").read_bytes() == content


def test_links_to_folders_are_told(
    bundle: Path, few: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "other").mkdir()
    (few / "more").symlink_to(tmp_path / "other")
    assert len(label(bundle, tmp_path / "out.csv", few)) == 3
    assert "links to folders are not followed: 1, such as more" in caplog.text


def test_links_in_archives_are_told(
    bundle: Path, few: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.link(few / "0.jpg", few / "3.jpg")
    (few / "4.jpg").symlink_to("0.jpg")
    (few / "note.txt").symlink_to("0.jpg")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for path in sorted(few.iterdir()):
            archive.add(path, path.name)
    assert label(bundle, tmp_path / "out.csv", tmp_path / "a.tar") == ["0.jpg", "1.jpg", "2.jpg"]
    assert "links are left out: 2, such as 3.jpg; write it with tar --deref" in caplog.text


def test_names_may_end_with_a_nul(
    bundle: Path, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (few / "2.jpg").rename(few / "two\nlines.jpg")
    names = [str(path) for path in sorted(few.iterdir())]
    given = io.BytesIO(b"".join(name.encode() + b"\0" for name in names))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(given, encoding="utf-8"))
    assert label(bundle, tmp_path / "out.csv", "-") == names


def test_without_pyav_nothing_is_scored(
    bundle: Path, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (few / "z.mp4").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr(Ensemble, "load", lambda *_, **__: pytest.fail("the bundle was loaded"))
    with pytest.raises(PictureError, match=r"forgerystack\[video\]"):
        label(bundle, tmp_path / "out.csv", few)


# --- what is shown


def test_names_move_no_cursor(bundle: Path, few: Path, spoken: pytest.CaptureFixture[str]) -> None:
    (few / "0.jpg").rename(few / "a\x1b[2Jb\r.jpg")
    run(LabelTask((str(few),), bundle))
    said = spoken.readouterr().out
    assert r"  a\x1b[2Jb\r.jpg" in said
    assert len(said.splitlines()) == 3


def test_networks_that_were_asked_for_are_shown(
    bundle: Path, few: Path, spoken: pytest.CaptureFixture[str], ensemble: Ensemble
) -> None:
    (few / "1.jpg").write_bytes(b"no picture")
    run(LabelTask((str(few),), bundle, members=True))
    first, second, _ = spoken.readouterr().out.splitlines()
    odds = ensemble.label([few / "0.jpg"], with_members=True)[0].members
    told = ", ".join(f"{name} {value:+.2f}" for name, value in odds.items())
    assert first.endswith(f"  0.jpg: {told}")
    assert "noise-0" not in second


@pytest.mark.parametrize("form", ["--json", "text"])
def test_where_nobody_reads_any_more_it_ends(
    bundle: Path, few: Path, tmp_path: Path, form: str
) -> None:
    (listed := tmp_path / "list.txt").write_text(f"{few}/0.jpg\n" * 100_000)
    command = [sys.executable, "-m", "serving.label", "-b", str(bundle), "--list", str(listed)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    with subprocess.Popen(
        [*command, *([form] if form != "text" else [])],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout
        assert program.stderr
        assert re.search(r"0\.jpg", program.stdout.readline())
        program.stdout.close()
        try:
            assert program.wait(60) == 0
        finally:
            program.kill()
        assert program.stderr.read() == ""


def test_a_log_that_nobody_reads_stops_no_work(tmp_path: Path) -> None:
    script = """
import logging
from pathlib import Path
from features.runtime.cli import run_stage

def main() -> None:
    for number in range(20_000):
        logging.getLogger("forgerystack").info("line %d", number)
    Path("done").touch()

run_stage("some.stage", main)
"""
    command = f"'{sys.executable}' -c '{script}' | head -2"
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    told = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert (told.stdout, told.stderr) == ("line 0\nline 1\n", "")
    assert (tmp_path / "done").exists()
