"""Workers of a Dask cluster that are killed in the middle of a scan, of components, of LightGBM."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import yaml
from dask_clusters import Killer
from made_data import prepare_params, write_data
from synthetic_world import BACKBONES, STACK, Plan, build_world, draw_columns, write_params

from features.core.auc import find_auc
from features.core.files import digest_file
from features.errors import ClusterError
from features.forensics import measuring
from features.forensics import run as forensics
from features.forensics.__main__ import main as measure
from features.prepare.__main__ import main as prepare
from features.runtime.cluster import DaskCluster, open_cluster
from features.settings.stacking import Stack
from stage2_ensemble.columns import dask_arrays
from stage2_ensemble.columns.columns import read_held_out
from stage2_ensemble.columns.dask_arrays import fit_incremental, spread_rows
from stage2_ensemble.columns.extras import read_extras
from stage2_ensemble.fitted.bundle import read_ensemble
from stage2_ensemble.gate.out_of_fold import judge_candidates
from stage2_ensemble.measures.resampling import find_bounds, index_groups, measure_resamples
from stage2_ensemble.models.boosted import Boosted
from stage2_ensemble.stack.__main__ import main as stack

pytestmark = [pytest.mark.scale, pytest.mark.timeout(600)]
ON_DASK = ["scans.engine=dask", "dask.workers=2"]
HERE = DaskCluster(workers=2)
LOCAL = Stack(**{**STACK, "max_rounds": 60, "learning_rate": 0.05})
FAR = LOCAL.model_copy(update={"engine": "dask"})
CURVES = FAR.model_copy(update={"num_leaves": 2})
"""One kind of trees: fewer fits."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Pictures and `params.yaml`, entered."""
    root = write_data(tmp_path / "data", 60, 40, 20)
    values = prepare_params(root).model_dump(mode="json")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measuring, "ROWS", 4)
    return tmp_path


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(dask_arrays, "ROWS", 64)


def digest_all(folder):
    files = sorted(p for p in (folder / "artifacts").rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): digest_file(p) for p in files}


def spread(columns):
    return replace(columns, embeddings=tuple(map(spread_rows, columns.embeddings)))


def write_texts(model):
    return [booster.model_to_string() for booster in model.boosters]


# --- a worker is lost


@pytest.mark.fault(
    "a worker of Dask is killed in a scan, in principal components or in LightGBM",
    "goes on: tasks run elsewhere, LightGBM begins once more; lost again and again, error",
    "Disks, signals, kills",
)
def test_a_scan_goes_on_to_the_same_tables(folder):
    prepare()
    measure()
    wanted = digest_all(folder)
    for name in wanted:
        (folder / name).unlink()
    with Killer("scan_block") as first:
        prepare(overrides=[*ON_DASK, "images.store_dir=.other"])
    with Killer("measure_range") as second:
        measure([*ON_DASK, "images.store_dir=.other"])
    assert len(first.killed) == len(second.killed) == 1
    assert digest_all(folder) == wanted


def kill_self(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.fault("a worker of Dask is killed in a scan, in principal components or in LightGBM")
def test_a_task_that_kills_whoever_does_it_is_an_error(folder, monkeypatch):
    prepare()
    monkeypatch.setattr(forensics, "measure_range", kill_self)
    with pytest.raises(ClusterError, match="What was finished is kept"):
        measure(ON_DASK)


@pytest.mark.fault("a worker of Dask is killed in a scan, in principal components or in LightGBM")
def test_components_are_the_same_after_a_loss(tmp_path, small_blocks):
    rows = np.random.default_rng(0).normal(size=(6000, 40)).astype(np.float16)
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    with open_cluster(HERE):
        wanted = fit_incremental(spread_rows(mapped), 4)
        with Killer("_learn") as killer:
            found = fit_incremental(spread_rows(mapped), 4)
    assert killer.killed
    for one, other in zip(found, wanted, strict=True):
        assert one.tobytes() == other.tobytes()


@pytest.mark.fault("a worker of Dask is killed in a scan, in principal components or in LightGBM")
def test_lightgbm_begins_once_more_to_the_same_bytes(small_blocks, caplog):
    columns = draw_columns(reals=400, fakes=600)
    with open_cluster(HERE, least=2):
        wanted = Boosted.fit([spread(columns)], CURVES, 0)
        with Killer("_train_part", after=0.1) as killer:
            found = Boosted.fit([spread(columns)], CURVES, 0)
    assert len(killer.killed) == 1
    assert "LightGBM on Dask, attempt 1" in caplog.text
    assert wanted.boosters
    assert write_texts(found) == write_texts(wanted)


@pytest.mark.fault("a worker of Dask is killed in a scan, in principal components or in LightGBM")
def test_lightgbm_that_is_lost_twice_is_an_error(small_blocks):
    columns = draw_columns(reals=400, fakes=600)
    with (
        open_cluster(HERE, least=2),
        Killer("_train_part", times=20),
        pytest.raises(ClusterError, match="LightGBM on Dask failed 2 times"),
    ):
        Boosted.fit([spread(columns)], CURVES, 0)


# --- what it gives


def test_out_of_fold_auc_lies_within_the_interval_of_one_process(small_blocks):
    columns = draw_columns(reals=300, fakes=500)
    here = LOCAL.model_copy(update={"num_leaves": 2})
    local = judge_candidates([columns], here, 0).scores
    with open_cluster(HERE, least=2):
        far = judge_candidates([spread(columns)], CURVES, 0).scores
    groups = index_groups(columns.labels, columns.groups)
    aucs = {}
    for name, scores in (("local", local), ("far", far)):
        resamples = measure_resamples(columns.labels, scores["lightgbm"][0], groups, 0.0)
        value = float(np.mean(resamples.values["auc"]))
        aucs[name] = (value, *find_bounds("auc", value, resamples, groups.least))
    value, (_, low, high) = aucs["far"][0], aucs["local"]
    assert low <= value <= high
    for name in ("mean", "logistic", "best_single"):  # nothing of them is shared out
        assert np.array_equal(local[name][0], far[name][0])


def test_the_stage_ships_an_ordinary_ensemble(tmp_path, monkeypatch, small_blocks):
    world = build_world(tmp_path / "world", Plan(reals=80))
    monkeypatch.chdir(world.root)
    settings = {**STACK, "engine": "dask", "num_leaves": 2}
    gate = {"margin": 0.9}  # nothing wins: few fits
    write_params(world, stack=settings, dask={"workers": 2}, gate=gate)
    stack()
    ensemble = read_ensemble(world.root / "artifacts/stackers")
    columns = read_held_out(
        world.root / "artifacts/dumps", world.val, BACKBONES, [0], world.train.digest,
        read_extras(world.root / "artifacts/forensics", world.val),
    )  # fmt: skip
    assert find_auc(world.truth["val"].astype(np.int8), ensemble.score("lightgbm", columns)) > 0.8
