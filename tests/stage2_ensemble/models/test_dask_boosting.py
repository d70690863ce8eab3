"""LightGBM on a cluster: who gets which rows, what is learned, what is tried again."""

import time
from dataclasses import replace

import numpy as np
import pytest
from dask_clusters import open_threads
from distributed import Client
from sklearn.metrics import roc_auc_score
from synthetic_world import draw_columns

from features.errors import ClusterError
from features.runtime.cluster import MINUTES
from features.settings.stacking import Stack
from stage2_ensemble.columns import dask_arrays
from stage2_ensemble.columns.dask_arrays import spread_rows
from stage2_ensemble.models import dask_boosting
from stage2_ensemble.models.boosted import Boosted, build_options
from stage2_ensemble.models.dask_boosting import SpreadRows, grow_spread
from stage2_ensemble.models.dask_machines import deal_rows
from stage2_ensemble.models.forest import Forest

LOCAL = Stack(
    inner_folds=3,
    bags=1,
    pca_components=4,
    max_rounds=10,
    learning_rate=0.2,
    num_leaves=7,
    min_data_in_leaf=10,
)
FAR = LOCAL.model_copy(update={"engine": "dask"})


@pytest.fixture(scope="module")
def client():
    import dask

    with open_threads() as cluster, Client(cluster) as opened, dask.config.set({MINUTES: 5}):
        yield opened


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(dask_arrays, "ROWS", 64)


def spread(columns):
    return replace(columns, embeddings=tuple(map(spread_rows, columns.embeddings)))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_worker_gets_rows_of_both_classes(count):
    labels = np.repeat([0, 1], [7, 100]).astype(np.int8)  # all reals come first
    parts = deal_rows(labels, count)
    assert len(parts) == count
    assert sorted(np.concatenate(parts)) == list(range(107))
    shares = [(labels[part] == 0).sum() for part in parts]
    assert max(shares) - min(shares) <= 1
    assert min(shares) >= 1


def test_fewer_workers_learn_where_a_class_has_fewer_rows():
    assert len(deal_rows(np.array([0, 1, 1, 0, 1], np.int8), 4)) == 2


def test_it_learns_as_well_as_in_one_process(client, small_blocks):
    columns, new = draw_columns(reals=200, fakes=300), draw_columns(seed=7)
    curves = {"num_leaves": 2}  # one kind of trees
    far = Boosted.fit([spread(columns)], FAR.model_copy(update=curves), 0)
    here = Boosted.fit([columns], LOCAL.model_copy(update=curves), 0)
    assert far.boosters
    assert far.table.names == here.table.names
    aucs = [roc_auc_score(new.labels, model.score(new)) for model in (far, here)]
    assert aucs[0] == pytest.approx(aucs[1], abs=0.02)
    assert far.score(spread(new)) == pytest.approx(far.score(new), abs=1e-12)


@pytest.mark.scale
def test_the_same_number_of_workers_gives_the_same_bytes(client, small_blocks):
    columns = draw_columns()
    models = [Boosted.fit([spread(columns)], FAR, 0) for _ in range(2)]
    one, other = ([b.model_to_string() for b in model.boosters] for model in models)
    assert one == other


def test_a_forest_grows_on_a_cluster(client, small_blocks):
    columns, new = draw_columns(), draw_columns(seed=7)
    found = Forest.fit([spread(columns)], FAR, 0)
    assert roc_auc_score(new.labels, found.score(new)) > 0.7


def test_what_takes_too_long_is_tried_twice_and_told(client, monkeypatch):
    """The workers of this test are threads, which nobody can start anew."""
    import dask

    restarts = []
    monkeypatch.setattr(client, "restart", lambda: restarts.append(1))
    monkeypatch.setattr(dask_boosting, "_Fitting", lambda *args: time.sleep(1))
    rows = SpreadRows(spread_rows(np.zeros((4, 1), np.float32)), np.array([0, 1, 0, 1]), np.ones(4))
    with (
        dask.config.set({MINUTES: 1e-3}),
        pytest.raises(ClusterError, match=r"failed 2 times, at last: not done in 0.001 minutes"),
    ):
        grow_spread(rows, build_options(LOCAL, 0, (4, 1)), 2, [0], 2)
    assert len(restarts) == 2
