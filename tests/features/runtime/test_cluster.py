"""Scans on Dask: the same tables, and what is said where they cannot begin."""

import sys
from pathlib import Path

import pytest
import yaml
from dask_clusters import list_done, open_threads
from made_data import prepare_params, write_data

from features.errors import ClusterError, ConfigError
from features.forensics import measuring
from features.forensics.__main__ import main as measure
from features.prepare.__main__ import main as prepare
from features.runtime import cluster as module
from features.runtime.cluster import ClusterParams, DaskCluster, open_cluster, open_scans
from features.settings.sections import validate_params


@pytest.fixture(scope="module")
def cluster():
    with open_threads() as opened:
        yield opened


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with pictures and `params.yaml`, entered."""
    root = write_data(tmp_path / "data")
    (root / "testset" / "test01.png").write_bytes(b"<html>")
    values = prepare_params(root).model_dump(mode="json") | {"resume_dir": ".resume"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measuring, "ROWS", 6)
    return tmp_path


def read_tables(folder: Path) -> dict[str, bytes]:
    places = sorted((folder / "artifacts").rglob("*"))
    return {str(p.relative_to(folder)): p.read_bytes() for p in places if p.is_file()}


def test_tables_are_the_same_wherever_pictures_are_read_and_measured(folder, cluster, request):
    on_dask = ["scans.engine=dask", f"dask.scheduler={cluster.scheduler_address}"]
    other = ["images.store_dir=.other"]
    prepare(overrides=[*on_dask, *other])
    measure([*on_dask, *other])
    found = read_tables(folder)
    assert list_done(cluster, "scan_block")
    assert len(list_done(cluster, "measure_range")) >= 3
    for name in found:
        (folder / name).unlink()
    request.getfixturevalue("one_process")
    prepare()
    measure()
    assert read_tables(folder) == found
    assert {"artifacts/forensics/train.npy", "artifacts/manifest/train.parquet"} <= set(found)


def test_all_files_are_read_again_by_workers(folder, cluster):
    on_dask = ["scans.engine=dask", f"dask.scheduler={cluster.scheduler_address}"]
    prepare(overrides=on_dask)
    prepare(verify=True, overrides=on_dask)
    assert list_done(cluster, "compare_files")


@pytest.mark.fault(
    "an engine without its package, a scheduler that does not answer, workers in another folder",
    "error; it says what to install or to start",
    "Settings and surroundings",
)
def test_an_engine_that_is_not_installed_is_told_with_its_extra(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match=r"pip install 'forgerystack\[dask\]'"):
        prepare(overrides=["scans.engine=dask"])


@pytest.mark.fault(
    "an engine without its package, a scheduler that does not answer, workers in another folder"
)
def test_a_scheduler_that_does_not_answer_is_told(monkeypatch):
    monkeypatch.setattr(module, "SECONDS", 0.2)
    with (
        pytest.raises(ClusterError, match=r"dask.scheduler tcp://127.0.0.1:9"),
        open_cluster(DaskCluster(scheduler="tcp://127.0.0.1:9")),
    ):
        pass


def test_too_few_workers_are_told(cluster, monkeypatch):
    monkeypatch.setattr(module, "SECONDS", 0.2)
    with (
        pytest.raises(ClusterError, match="Dask has 2 workers, 3 are needed"),
        open_cluster(DaskCluster(scheduler=cluster.scheduler_address), least=3),
    ):
        pass


@pytest.mark.fault(
    "an engine without its package, a scheduler that does not answer, workers in another folder"
)
def test_workers_in_another_folder_are_told(cluster, monkeypatch):
    monkeypatch.setattr(module.os, "getcwd", iter(["/else"] * 2 + ["/here"] * 9).__next__)
    with (
        pytest.raises(ClusterError, match="works in /else, not in /here"),
        open_cluster(DaskCluster(scheduler=cluster.scheduler_address)),
    ):
        pass


def test_what_dask_gives_up_is_told_once(cluster):
    from types import SimpleNamespace

    from distributed import KilledWorker

    with (
        pytest.raises(ClusterError, match="What was finished is kept"),
        open_cluster(DaskCluster(scheduler=cluster.scheduler_address)),
    ):
        raise KilledWorker("measure_range-1", SimpleNamespace(address="tcp://a:1"), 3)


def test_without_an_engine_nothing_of_dask_is_asked_for(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with open_scans():
        pass


def test_workers_of_a_scheduler_are_its_own():
    with pytest.raises(ConfigError, match="workers has no meaning with a scheduler"):
        validate_params(ClusterParams, {"dask": {"scheduler": "tcp://a:1", "workers": 2}}, "it")
