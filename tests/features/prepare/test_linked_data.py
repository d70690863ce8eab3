"""Data whose pictures are links: into DVC's cache, or into folders that `data.trusted` lists."""

import shutil
import subprocess
from itertools import permutations
from pathlib import Path

import pytest
from made_data import draw_noise, encode, prepare_params, write_table

from features.core.files import read_json
from features.core.manifest import read_manifest
from features.errors import ManifestError
from features.inputs.contents import KnownContents
from features.inputs.pictures import describe_pictures, find_change
from features.lists.folders import Skipped, walk_files
from features.pixels.store import open_store
from features.prepare.run import run
from features.prepare.verify import verify_data

pytestmark = pytest.mark.usefixtures("one_process")


@pytest.mark.parametrize("cache", ["", "../shared"])
def test_pictures_that_dvc_links_into_its_cache_are_read(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: Path, cache: str
) -> None:
    def run_dvc(*command: str) -> None:
        subprocess.run([programs / "dvc", *command], check=True, capture_output=True)

    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    shutil.move(data, "data")
    run_dvc("init", "--no-scm", "--quiet")
    run_dvc("config", "cache.type", "symlink")
    if cache:
        run_dvc("cache", "dir", cache)
    run_dvc("add", "--quiet", "data")
    assert Path("data/trainset/train00.png").is_symlink()
    params = prepare_params(Path("data"), images={"store": "none", "store_dir": ".store"})
    run(params, Path("out"))
    train = read_manifest(Path("out"), "train")
    assert read_json(Path("out/summary.json"), "prepare")["train"]["unreadable"] == 0
    assert len(open_store(train, Path("data"), params.images).gather(train.table["row_id"])) == 20
    verify_data(params, Path("out"))


@pytest.mark.parametrize("linked", ["folder", "pictures"])
def test_links_into_trusted_folders_are_read_and_others_are_told(
    data: Path, tmp_path: Path, linked: str
) -> None:
    disk, folder = tmp_path / "disk", data / "trainset"
    shutil.move(folder, disk)
    if linked == "folder":
        folder.symlink_to(disk)
    else:
        folder.mkdir()
        for path in disk.iterdir():
            (folder / path.name).symlink_to(path)
    with pytest.raises(ManifestError, match=r"into no folder of data\.trusted"):
        run(prepare_params(data), tmp_path / "out")
    run(prepare_params(data, data={"trusted": [str(disk)]}), tmp_path / "out")
    assert len(read_manifest(tmp_path / "out", "train")) == 20


def test_new_pictures_behind_a_trusted_link_are_noticed(data: Path, tmp_path: Path) -> None:
    shutil.move(data / "trainset", tmp_path / "disk")
    (data / "trainset").mkdir()
    (data / "trainset" / "more").symlink_to(tmp_path / "disk")
    trusted = (str(tmp_path / "disk"),)
    before = describe_pictures(data, "trainset", trusted, KnownContents({}))
    (tmp_path / "disk" / "new.png").write_bytes(b"x")
    assert (
        describe_pictures(data, "trainset", trusted, KnownContents({}))["files"]
        == before["files"] + 1
        == 21
    )


def list_linked(data: Path, link: str, prefix: str = "train") -> list[str]:
    """Val lists pictures behind a link to a folder of the data; in train others are called so."""
    (data / "pool").mkdir()
    names = [f"{prefix}{i:02d}.png" for i in range(6)]
    for i, name in enumerate(names):
        (data / "pool" / name).write_bytes(encode(draw_noise(5000 + i)))
    (data / "trainset" / link).symlink_to("../pool")
    rows = [(f"{link}/{name}", i % 2) for i, name in enumerate(names)]
    write_table(data / "valset_label.txt", ["img_name", "target"], rows)
    return names


@pytest.mark.parametrize("link", ["more", ".hidden"])
def test_listed_files_behind_links_inside_the_data_are_those_files(
    data: Path, tmp_path: Path, link: str
) -> None:
    names = list_linked(data, link)
    val = {"labels": "valset_label.txt", "images": "trainset"}
    run(prepare_params(data, data={"val": val}), tmp_path / "out")
    table = read_manifest(tmp_path / "out", "val").table
    assert table["path"].tolist() == [f"trainset/{link}/{name}" for name in names]
    assert set(table["status"]) == {"ok"}
    assert len(read_manifest(tmp_path / "out", "train")) == 20


def test_names_mean_pictures_behind_links_inside_the_data(data: Path, tmp_path: Path) -> None:
    names = list_linked(data, "more", "pool")
    rows = [(f"/kaggle/input/more/{name}", i % 2) for i, name in enumerate(names)]
    write_table(data / "valset_label.txt", ["img_name", "target"], rows)
    val = {"labels": "valset_label.txt", "images": "trainset"}
    run(prepare_params(data, data={"val": val}), tmp_path / "out")
    table = read_manifest(tmp_path / "out", "val").table
    assert table["path"].tolist() == [f"trainset/more/{name}" for name in names]


def test_other_pictures_behind_a_link_inside_the_data_are_noticed(data: Path) -> None:
    names = list_linked(data, "more")
    before = describe_pictures(data, "trainset", (), KnownContents({}))
    (data / "pool" / names[0]).write_bytes(b"x")
    after = describe_pictures(data, "trainset", (), KnownContents({}))
    assert find_change(before, after) == "other pictures of the same names"


def test_folders_that_link_to_one_another_are_walked_to_the_end(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
        (tmp_path / name / "p.png").write_bytes(b"x")
        for other in {*"abc"} - {name}:
            (tmp_path / name / f"to_{other}").symlink_to(f"../{other}")
    names = [name for name, _ in walk_files(tmp_path, "", Skipped((str(tmp_path),)))]
    paths = [path for length in (1, 2, 3) for path in permutations("abc", length)]
    assert sorted(names) == sorted("/to_".join(path) + "/p.png" for path in paths)
