"""Clusters of reals: found fold by fold, and the same in every fold."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_world import draw_axes, draw_columns, hold_out, spare

from features.errors import LeakageError
from features.settings.stacking import Stack
from stage2_ensemble.columns.columns import FoldColumns
from stage2_ensemble.columns.pseudo_sources import cluster_reals

SETTINGS = Stack(pca_components=4)


def draw_kinds(fold: int, count: int = 3, seed: int = 0) -> tuple[FoldColumns, np.ndarray]:
    """Reals of so many kinds, which embeddings tell apart by other axes in each fold.

    A forensic column means the same in every fold, and tells kinds apart a little.
    """
    columns = draw_columns(fold, 40 * count, 60, seed=seed)
    rng = np.random.default_rng([seed, fold])
    kinds = rng.integers(count, size=len(columns))
    embeddings = []
    for place in range(3):
        inner = rng.normal(size=(len(columns), 10))
        inner[:, :count] += 9 * np.eye(count)[kinds]
        embeddings.append((inner @ draw_axes(50 * place + fold)).astype(np.float16))
    level = (kinds + rng.normal(size=len(kinds)))[:, None].astype(np.float32)
    columns = replace(
        columns, embeddings=tuple(embeddings), extras=level, extra_names=("forensic:level",)
    )
    return columns, kinds


def match(columns: FoldColumns, kinds: np.ndarray) -> dict[str, int]:
    """The kind that each cluster is; fails where a cluster is of several."""
    reals = columns.labels == 0
    pairs = set(zip(columns.sources[reals], kinds[reals].tolist(), strict=True))
    names = dict(pairs)
    assert len(pairs) == len(names) == len(set(names.values()))
    return names


def test_reals_that_look_alike_are_one_cluster_in_every_fold():
    drawn = [draw_kinds(fold) for fold in (0, 1, 2)]
    found = cluster_reals([columns for columns, _ in drawn], 3, SETTINGS, 0)
    names = [match(c, kinds) for c, (_, kinds) in zip(found, drawn, strict=True)]
    assert set(names[0]) == {"cluster 1", "cluster 2", "cluster 3"}
    assert names[0] == names[1] == names[2]
    for columns, (before, _) in zip(found, drawn, strict=True):
        assert set(columns.sources[columns.labels == 1]) == {""}
        np.testing.assert_array_equal(columns.logits, before.logits)


def test_fakes_decide_nothing():
    columns, _ = draw_kinds(0)
    fakes = columns.labels == 1
    other = replace(
        columns,
        embeddings=tuple(np.where(fakes[:, None], -e, e) for e in columns.embeddings),
        logits=np.where(fakes[:, None], 9.0, columns.logits),
    )
    one, two = (cluster_reals([c], 3, SETTINGS, 0)[0].sources for c in (columns, other))
    assert one.tolist() == two.tolist()


def test_every_backbone_counts_the_same_however_long_its_embeddings_are():
    columns, kinds = draw_kinds(0)
    noise = np.random.default_rng(0).normal(size=(len(columns), 10)) * 300
    loud = replace(columns, embeddings=(*columns.embeddings[:2], noise.astype(np.float16)))
    match(cluster_reals([loud], 3, SETTINGS, 0)[0], kinds)


def test_the_same_seed_gives_the_same_clusters():
    folds = [draw_columns(0), draw_columns(1, seed=50)]  # nothing to be found: any cut will do
    found = [
        [c.sources.tolist() for c in cluster_reals(folds, 4, SETTINGS, seed)] for seed in (0, 0, 1)
    ]
    assert found[0] == found[1] != found[2]


def test_too_few_reals_or_no_embeddings_leave_the_folds_as_they_are():
    few = draw_columns(1, reals=3, fakes=20)
    bare = replace(draw_columns(1), embeddings=())
    for other in (few, bare):
        found = cluster_reals([draw_columns(0), other], 4, SETTINGS, 0)
        assert [c.sources for c in found] == [None, None]


def test_a_row_that_some_backbones_have_no_embedding_of_is_placed_by_the_others():
    columns, kinds = draw_kinds(0)
    gaps = np.random.default_rng(0).random(len(columns)) < 0.2
    last = np.where(gaps[:, None], np.nan, columns.embeddings[2]).astype(np.float16)
    none = np.empty((len(columns), 0), np.float16)
    outside = replace(columns, embeddings=(columns.embeddings[0], none, last))
    match(cluster_reals([outside], 3, SETTINGS, 0)[0], kinds)


def test_detectors_without_embeddings_leave_the_folds_as_they_are():
    columns = draw_columns()
    none = np.empty((len(columns), 0), np.float16)
    unknown = np.full((len(columns), 4), np.nan, np.float16)
    bare = replace(columns, embeddings=(none, unknown, none))
    assert [c.sources for c in cluster_reals([bare], 4, SETTINGS, 0)] == [None]


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_pictures_that_are_all_alike_are_one_cluster():
    """Fewer different embeddings than clusters."""
    columns = draw_columns(0)
    same = tuple(np.ones_like(e) for e in columns.embeddings)
    found = cluster_reals([replace(columns, embeddings=same), draw_columns(1)], 3, SETTINGS, 0)
    assert len(set(found[0].sources[columns.labels == 0])) == 1


@pytest.mark.parametrize("forbid", [hold_out, spare])
def test_nothing_is_clustered_on_rows_that_are_held_out(forbid):
    with pytest.raises(LeakageError):
        cluster_reals([draw_columns(0), forbid(draw_columns(1))], 3, SETTINGS, 0)
