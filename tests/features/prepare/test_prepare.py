"""Stage `prepare`: from label files and pictures to manifests, end to end."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_data import draw_noise, encode, prepare_params, write_data, write_table

from features.core.files import digest_file
from features.core.manifest import ROLES, SCHEMA, Manifest, Role, read_manifest
from features.pixels import cache
from features.prepare import run as prepare
from features.prepare.run import run

PROJECT = Path(prepare.__file__).parents[2]


def read_all(out: Path) -> dict[Role, Manifest]:
    return {role: read_manifest(out, role) for role in ROLES}


@pytest.fixture
def prepared(data: Path, tmp_path: Path, one_process: None) -> dict[Role, Manifest]:
    run(prepare_params(data), tmp_path / "out")
    return read_all(tmp_path / "out")


def test_every_line_becomes_a_row(prepared: dict[Role, Manifest], data: Path) -> None:
    assert {role: len(manifest) for role, manifest in prepared.items()} == {
        "train": 20,
        "val": 8,
        "test": 4,
    }
    for role, manifest in prepared.items():
        table = manifest.table
        assert list(table.columns) == list(SCHEMA)
        assert table["row_id"].tolist() == list(range(len(table)))
        assert table["img_name"].tolist() == [f"{role}{i:02d}.png" for i in range(len(table))]
        assert table["path"].tolist() == [f"{role}set/{name}" for name in table["img_name"]]
        files = [data / path for path in table["path"]]
        assert table["sha256"].tolist() == [digest_file(path) for path in files]
        assert table["bytes"].tolist() == [path.stat().st_size for path in files]
        assert set(table["width"]) == set(table["height"]) == {8}
        assert set(table["format"]) == {"PNG"}
        assert set(table["status"]) == {"ok"}


def test_labels_and_folds_are_those_of_the_role(prepared: dict[Role, Manifest]) -> None:
    assert prepared["train"].labels.tolist() == [0, 1] * 10
    assert prepared["val"].labels.tolist() == [0, 1] * 4
    assert prepared["test"].labels.tolist() == [-1] * 4
    assert set(prepared["train"].folds) == {0, 1}
    assert set(prepared["val"].folds) == set(prepared["test"].folds) == {-1}


def test_the_summary_counts_what_is_there(prepared: dict[Role, Manifest], tmp_path: Path) -> None:
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["train"] == {
        "rows": 20,
        "reals": 10,
        "fakes": 10,
        "groups": 20,
        "largest group": 1,
        "usual group": 1,
        "units": 0,
        "unreadable": 0,
        "unreadable by class": {"reals": 0, "fakes": 0},
        "reasons": {},
        "formats": {"PNG": {"rows": 20, "reals": 10, "fakes": 10}},
        "sizes": {"8 x 8": {"rows": 20, "reals": 10, "fakes": 10}},
        "notes": {},
        "generators": {},
        "sources": {},
    }
    assert summary["test"]["rows"] == 4
    train = prepared["train"]
    fakes = int(train.labels[train.folds == 0].sum())
    assert summary["folds"]["fold 0"]["fakes"] == fakes
    assert summary["folds"]["calibration"] == {"reals": 0, "fakes": 0}
    assert summary["repeated lines dropped"] == 0


@pytest.mark.usefixtures("one_process")
def test_two_runs_write_the_same_bytes(data: Path, tmp_path: Path) -> None:
    outs = [tmp_path / "first", tmp_path / "second"]
    for out in outs:
        run(prepare_params(data), out)
    first, second = ({p.name: p.read_bytes() for p in out.iterdir()} for out in outs)
    assert sorted(first) == [
        "duplicates.csv",
        "prepare.sums.json",
        "quarantine.csv",
        "summary.json",
        "summary.md",
        "test.parquet",
        "train.parquet",
        "val.parquet",
    ]
    assert first == second


def run_module(folder: Path, settings: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    (folder / "params.yaml").write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "features.prepare", "--set", "seed=0"]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "LOKY_MAX_CPU_COUNT": "2"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.fault(
    "a path with spaces and accents, data elsewhere",
    "works, with the same manifests",
    "Settings and surroundings",
)
def test_a_folder_with_spaces_and_accents_works_as_any_other(tmp_path: Path) -> None:
    folder = tmp_path / "a b é"
    write_data(folder / "data")
    settings = {"data": {"root": "data"}, "split": {}, "folds": {"count": 2, "active": [0]},
                "images": {"size": 16}}  # fmt: skip
    done = run_module(folder, settings)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\| train +\| +20 \| +10 \| +10 \| +20 \| +0 \|", done.stdout)
    found = read_manifest(folder / "artifacts" / "manifest", "train")
    assert found.table["path"][0] == "trainset/train00.png"


@pytest.mark.fault("a path with spaces and accents, data elsewhere")
@pytest.mark.usefixtures("one_process")
def test_manifests_do_not_depend_on_where_the_data_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = set()
    for place, work in (("a b é/data", "."), ("other", "deep/down")):
        (tmp_path / work).mkdir(parents=True, exist_ok=True)
        monkeypatch.chdir(tmp_path / work)
        root = write_data(tmp_path / place)
        for data in (root, Path(os.path.relpath(root))):
            run(prepare_params(data), tmp_path / "out")
            digests.add(tuple(m.digest for m in read_all(tmp_path / "out").values()))
    assert len(digests) == 1


@pytest.mark.usefixtures("one_process")
def test_doubled_pictures_share_a_group_and_a_fold(data: Path, tmp_path: Path) -> None:
    for first, second in ((0, 2), (3, 5)):
        content = (data / f"trainset/train{first:02d}.png").read_bytes()
        (data / f"trainset/train{second:02d}.png").write_bytes(content)
    run(prepare_params(data, folds={"count": 5, "active": [0]}), tmp_path / "out")
    train = read_manifest(tmp_path / "out", "train")
    assert train.groups[[0, 3]].tolist() == train.groups[[2, 5]].tolist()
    assert train.folds[[0, 3]].tolist() == train.folds[[2, 5]].tolist()
    assert len(set(train.groups)) == 18


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("column", ["source", "path", "generator", "status", "group", "label"])
def test_a_group_column_may_have_any_name(data: Path, tmp_path: Path, column: str) -> None:
    for role, n in (("train", 20), ("val", 8)):
        rows = [[f"{role}{i:02d}.png", i % 2, f"{role}{i // 4}"] for i in range(n)]
        write_table(data / f"{role}set_label.txt", ["img_name", "target", column], rows)
    run(prepare_params(data, data={"group_columns": [column]}), tmp_path / "out")
    train = read_manifest(tmp_path / "out", "train")
    assert train.groups.tolist() == [i // 4 for i in range(20)]
    assert (train.folds.reshape(5, 4) == train.folds[::4, None]).all()


@pytest.mark.usefixtures("one_process")
def test_sources_of_both_classes_are_kept_and_may_be_held_out(data: Path, tmp_path: Path) -> None:
    for role, n in (("train", 20), ("val", 8)):
        rows = [[f"{role}{i:02d}.png", i % 2, ("phone", "7", "")[i % 3]] for i in range(n)]
        write_table(data / f"{role}set_label.txt", ["img_name", "target", "site"], rows)
    columns = {"columns": {"source": "site"}}
    run(prepare_params(data, data=columns, split={"hold_out": {"site": 7}}), tmp_path / "out")
    manifests = read_all(tmp_path / "out")
    train, val = manifests["train"].table, manifests["val"].table
    assert train.groupby("label")["source"].unique().map(sorted).tolist() == [["", "phone"]] * 2
    held = val[val["domain"] == "held_out"]
    assert set(held["source"]) == {"7"}
    assert set(held["label"]) == {0, 1}
    assert set(val["source"]) == {"phone", "7", ""}
    assert set(manifests["test"].table["source"]) == {""}
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["train"]["sources"] == {"phone": {"rows": 7, "reals": 4, "fakes": 3}}
    assert "| train: phone" in (tmp_path / "out" / "summary.md").read_text()


@pytest.mark.usefixtures("one_process")
def test_folders_of_classes_need_no_list(tmp_path: Path) -> None:
    places = {"real": range(8), "fake/gan": range(8, 14), "fake/diffusion": range(14, 20)}
    for role, first in (("train", 0), ("val", 100)):
        for place, numbers in places.items():
            folder = tmp_path / "data" / role / place
            folder.mkdir(parents=True)
            for i in numbers:
                (folder / f"{i}.png").write_bytes(encode(draw_noise(first + i)))
    (tmp_path / "data" / "new").mkdir()
    (tmp_path / "data" / "new" / "x.png").write_bytes(encode(draw_noise(500)))
    roles = {role: {"labels": None, "images": role} for role in ("train", "val")}
    data = {**roles, "test": {"labels": None, "images": "new"}}
    params = prepare_params(tmp_path / "data", data=data, split={"hold_out": {"generator": "gan"}})
    run(params, tmp_path / "out")
    manifests = read_all(tmp_path / "out")
    train, val = manifests["train"].table, manifests["val"].table
    assert train["label"].tolist() == [int(n.startswith("fake")) for n in train["img_name"]]
    assert set(train["generator"]) == {"", "diffusion"}
    counts = val.groupby(["generator", "domain"]).size().to_dict()
    assert counts == {("", "seen"): 8, ("diffusion", "seen"): 6, ("gan", "unseen"): 6,
                      ("gan", "held_out"): 6}  # fmt: skip
    assert manifests["test"].table["img_name"].tolist() == ["x.png"]


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("store", ["auto", "raw", "none"])
def test_a_file_that_is_known_is_looked_at_once(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    params = prepare_params(data, images={"store": store})
    run(params, tmp_path / "out")
    seen: list[str] = []
    read_state = cache.read_state

    def note(place: str) -> tuple[int, int]:
        seen.append(place)
        return read_state(place)

    monkeypatch.setattr(cache, "read_state", note)
    run(params, tmp_path / "out")
    assert sorted(seen) == sorted(str(path) for path in data.glob("*/*.png"))
