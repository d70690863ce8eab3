"""Nearest rows of train by embedding."""

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from stage2_ensemble.gallery import neighbours
from stage2_ensemble.gallery.neighbours import find_neighbours


@pytest.mark.parametrize("block", [7, 4096])
def test_they_are_those_of_a_full_matrix_of_cosines(block, monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", block)
    rng = np.random.default_rng(0)
    pool = [rng.normal(1, 1, (100, d)).astype(np.float16) for d in (8, 16)]
    queries = [rng.normal(1, 1, (12, d)).astype(np.float16) for d in (8, 16)]
    means = [rows.astype(float).mean(axis=0) for rows in pool]
    wanted = np.mean(
        [
            cosine_similarity(q.astype(float) - m, p.astype(float) - m)
            for q, p, m in zip(queries, pool, means, strict=True)
        ],
        axis=0,
    )
    places, similarities = find_neighbours(queries, pool, 3)
    assert np.array_equal(places, np.argsort(-wanted, axis=1)[:, :3])
    assert np.allclose(similarities, -np.sort(-wanted, axis=1)[:, :3])


def test_a_row_of_the_pool_finds_itself():
    pool = [np.eye(6, dtype=np.float16)]
    places, similarities = find_neighbours([pool[0][[4, 1]]], pool, 1)
    assert places.tolist() == [[4], [1]]
    assert np.allclose(similarities, 1)


def test_a_small_pool_gives_what_it_has():
    pool = [np.eye(2, dtype=np.float16)]
    assert find_neighbours(pool, pool, 5)[0].shape == (2, 2)
    assert find_neighbours(pool, pool, 0)[0].shape == (2, 0)
