"""Data whose pictures are links: into DVC's cache, or into folders that `data.trusted` lists."""

import shutil
import subprocess
from pathlib import Path

import pytest
from made_data import prepare_params

from features.core.files import read_json
from features.core.manifest import read_manifest
from features.errors import ManifestError
from features.inputs.contents import KnownContents
from features.inputs.pictures import describe_pictures
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
