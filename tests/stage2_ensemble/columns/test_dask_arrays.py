"""Rows on a cluster: the same columns to the bit, and components of all rows."""

from dataclasses import replace

import numpy as np
import pytest
from dask_clusters import open_threads
from distributed import Client
from sklearn.decomposition import PCA
from synthetic_world import draw_columns

from features.settings.stacking import Stack
from stage2_ensemble.columns import dask_arrays, projection
from stage2_ensemble.columns.basis import fit_basis
from stage2_ensemble.columns.dask_arrays import fit_incremental, is_spread, spread_rows
from stage2_ensemble.columns.feature_matrix import FeatureMatrix
from stage2_ensemble.columns.projection import Projection, apply_all

SETTINGS = Stack(inner_folds=3, pca_components=4)


@pytest.fixture(scope="module")
def client():
    with open_threads() as cluster, Client(cluster) as opened:
        yield opened


@pytest.fixture(autouse=True)
def small_blocks(client, monkeypatch):
    """Blocks of a few rows, so that there are several."""
    monkeypatch.setattr(dask_arrays, "ROWS", 64)
    monkeypatch.setattr(projection, "BLOCK", 32)


def spread(columns):
    return replace(
        columns,
        embeddings=tuple(spread_rows(rows) for rows in columns.embeddings),
        extras=None if columns.extras is None else spread_rows(columns.extras),
    )


@pytest.fixture
def columns():
    drawn = draw_columns()
    values = np.random.default_rng(5).normal(size=(len(drawn), 3)).astype(np.float32)
    values[7, 1] = np.nan
    return replace(drawn, extras=values, extra_names=("forensic:a", "forensic:b", "forensic:c"))


def test_blocks_of_a_file_are_read_by_workers(tmp_path):
    rows = np.arange(600, dtype=np.float16).reshape(200, 3)
    np.save(tmp_path / "rows.npy", rows)
    found = spread_rows(np.load(tmp_path / "rows.npy", mmap_mode="r"))
    assert found.chunks[0] == (64, 64, 64, 8)
    assert np.array_equal(found.compute(), rows)
    mask = rows[:, 0] % 2 == 0
    assert np.array_equal(found[mask].compute(), rows[mask])


@pytest.mark.parametrize("part", [*np.s_[:, 70:, 5:90, :0, ::2, ::-1], np.s_[:, 1:]], ids=str)
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_part_of_a_file_is_that_part_everywhere(tmp_path, part, order):
    np.save(tmp_path / "rows.npy", np.arange(600, dtype=np.float16).reshape(200, 3, order=order))
    taken = np.load(tmp_path / "rows.npy", mmap_mode="r")[10:][part]
    assert np.array_equal(spread_rows(taken).compute(), taken)


@pytest.mark.parametrize("components", [False, True])
def test_columns_are_the_same_to_the_bit(columns, components):
    basis = fit_basis([columns], SETTINGS, 0)
    table, rows = FeatureMatrix.fit([columns], SETTINGS, components, basis)
    far_table, far_rows = FeatureMatrix.fit([spread(columns)], SETTINGS, components, basis)
    assert far_table.names == table.names
    assert is_spread(far_rows)
    assert far_rows.compute().tobytes() == rows.tobytes()
    some = np.arange(1, len(columns), 2)
    wanted = table.build(columns.take(some))
    found = table.build(spread(columns).take(some))
    assert found.compute().tobytes() == wanted.tobytes()


def test_columns_that_are_chosen_are_the_same_to_the_bit(columns):
    settings = SETTINGS.model_copy(update={"columns": ("forensic:*", "logit:*")})
    basis = fit_basis([columns], settings, 0)
    _, rows = FeatureMatrix.fit([columns], settings, False, basis)
    _, far_rows = FeatureMatrix.fit([spread(columns)], settings, False, basis)
    assert far_rows.compute().tobytes() == rows.tobytes()


def test_projections_of_rows_here_and_there_are_the_same(columns):
    axes = [Projection.fit(rows, 4, 0) for rows in columns.embeddings]
    mixed = [spread_rows(columns.embeddings[0]), *columns.embeddings[1:]]
    for found, wanted in zip(
        apply_all(axes, mixed), apply_all(axes, columns.embeddings), strict=True
    ):
        assert np.array_equal(found, wanted)


def test_components_are_those_of_all_rows():
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(500, 3)) * (9, 5, 3) @ rng.normal(size=(3, 12))).astype(np.float16)
    found = Projection.fit(spread_rows(rows), 3, 0)
    wanted = PCA(3).fit(rows.astype(np.float32))
    assert found.mean == pytest.approx(wanted.mean_, abs=1e-3)
    assert np.abs(found.components @ wanted.components_.T) == pytest.approx(np.eye(3), abs=1e-2)


def test_rows_without_an_embedding_teach_nothing():
    rows = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float16)
    known = rows.copy()
    rows[::3] = np.nan
    rows[:64] = np.nan  # a whole block
    mean, components = fit_incremental(spread_rows(rows), 2)
    left = known[~np.isnan(rows).any(axis=1)].astype(np.float32)
    assert mean == pytest.approx(left.mean(axis=0), abs=1e-4)
    assert components.shape == (2, 6)
    nothing = fit_incremental(spread_rows(np.full((90, 6), np.nan, np.float16)), 2)
    assert [part.shape for part in nothing] == [(6,), (0, 6)]


@pytest.mark.parametrize("known", [0, 1, 2, 11, 40, 200])
def test_rows_without_an_embedding_count_neither_here_nor_there(known):
    """Most blocks have fewer known rows than there are components."""
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(800, 6)) * (9, 7, 5, 4, 3, 2)).astype(np.float16)
    rows[rng.permutation(800)[known:]] = np.nan
    wanted = Projection.fit(rows, 6, 0)
    found = Projection.fit(spread_rows(rows), 6, 0)
    assert found.components.shape == wanted.components.shape
    assert found.mean == pytest.approx(wanted.mean, abs=1e-3)
    if known > 6 * 4:  # all components, so block by block nothing is left out
        turned = np.abs(found.components @ wanted.components.T)
        assert turned == pytest.approx(np.eye(6), abs=1e-2)
