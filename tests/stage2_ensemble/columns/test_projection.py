"""Principal components of embeddings, and the class score that is made of them."""

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf
from sklearn.metrics import roc_auc_score
from synthetic_world import WIDTH, draw_columns

from features.errors import AlignmentError
from features.settings.stacking import Stack
from stage2_ensemble.columns import projection as module
from stage2_ensemble.columns.projection import Distance, Projection

# --- principal components


@pytest.mark.parametrize(
    ("rows", "wanted", "count"),
    [(400, 64, WIDTH), (400, 3, 3), (20, 64, 5), (23, 64, 5), (20, 4, 4), (3, 64, 1)],
)
def test_number_of_components(rows, wanted, count):
    embeddings = np.random.default_rng(0).normal(size=(rows, WIDTH)).astype(np.float16)
    projection = Projection.fit(embeddings, wanted, 0)
    assert projection.components.shape == (count, WIDTH)


def test_default_is_64_components():
    embeddings = np.random.default_rng(0).normal(size=(300, 80)).astype(np.float16)
    assert len(Projection.fit(embeddings, Stack().pca_components, 0).components) == 64


def test_components_are_scikit_learns():
    from sklearn.decomposition import PCA

    embeddings = draw_columns().embeddings[0]
    wanted = PCA(3, svd_solver="full").fit_transform(embeddings.astype(np.float64))
    found = Projection.fit(embeddings, 3, 0).apply(embeddings)
    np.testing.assert_allclose(np.abs(found), np.abs(wanted), atol=1e-3)


def test_blocks_change_nothing(monkeypatch):
    embeddings = np.random.default_rng(0).normal(size=(100, WIDTH)).astype(np.float16)
    projection = Projection.fit(embeddings, 4, 0)
    whole = projection.apply(embeddings)
    for block in (1, 33, 100, 101):
        monkeypatch.setattr(module, "BLOCK", block)
        np.testing.assert_allclose(projection.apply(embeddings), whole, atol=1e-5)


def test_more_rows_than_a_block():
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(module.BLOCK + 5, WIDTH)).astype(np.float16)
    projection = Projection.fit(embeddings, 2, 0)
    wanted = (embeddings.astype(np.float64) - projection.mean) @ projection.components.T
    np.testing.assert_allclose(projection.apply(embeddings), wanted, atol=1e-4)
    assert np.abs(wanted).max() > 1


def test_of_many_rows_a_seeded_part_is_looked_at(monkeypatch):
    embeddings = draw_columns().embeddings[0]
    whole = Projection.fit(embeddings, 3, 0)
    monkeypatch.setattr(module, "PCA_ROWS", 100)
    part, again, other = (Projection.fit(embeddings, 3, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(part.components, again.components)
    assert (part.mean != whole.mean).any()
    assert (part.mean != other.mean).any()


def test_other_widths_are_refused():
    embeddings = draw_columns().embeddings[0]
    projection = Projection.fit(embeddings, 3, 0)
    with pytest.raises(AlignmentError, match="widths"):
        projection.apply(embeddings[:, :-1])


def test_no_rows_have_no_components():
    embeddings = draw_columns().embeddings[0]
    assert Projection.fit(embeddings, 3, 0).apply(embeddings[:0]).shape == (0, 3)


# --- distances to the class means


def draw_classes(reals: int, fakes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two normal classes of one covariance, whose means differ in two of four directions."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [reals, fakes]).astype(np.int8)
    mix = np.array([[2, 0, 0, 0], [1, 1, 0, 0], [0, 0, 3, 1], [0, 0, 0, 0.5]])
    rows = rng.normal(size=(len(labels), 4)) @ mix + np.outer(labels, [1, -1, 0, 0])
    return rows.astype(np.float32), labels


def test_it_is_half_the_difference_of_squared_mahalanobis_distances():
    rows, labels = draw_classes(300, 500)
    means = [rows[labels == label].mean(axis=0, dtype=float) for label in (0, 1)]
    shared = 0
    for label, mean in enumerate(means):
        centred = rows[labels == label] - mean
        scale = centred.std(axis=0)
        shared += 0.5 * np.outer(scale, scale) * ledoit_wolf(centred / scale)[0]
    inverse = np.linalg.inv(shared)
    squared = [np.einsum("nc,cd,nd->n", rows - m, inverse, rows - m) for m in means]
    found = Distance.fit(rows, labels).score(rows)
    np.testing.assert_allclose(found, (squared[0] - squared[1]) / 2, atol=1e-3)
    assert roc_auc_score(labels, found) > 0.75


@pytest.mark.parametrize(("reals", "fakes"), [(200, 200), (40, 400), (400, 40)])
def test_both_classes_count_the_same(reals, fakes):
    rows, labels = draw_classes(reals, fakes)
    middle = np.mean([rows[labels == label].mean(axis=0) for label in (0, 1)], axis=0)
    assert Distance.fit(rows, labels).score(middle[None]) == pytest.approx(0, abs=1e-4)


def test_it_is_free_of_axes():
    rows, labels = draw_classes(2000, 3000)
    turned = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0]
    before = Distance.fit(rows, labels).score(rows)
    after = Distance.fit((rows @ turned).astype(np.float32), labels).score(rows @ turned)
    np.testing.assert_allclose(after, before, atol=0.05)  # it is shrunk towards the axes


def test_the_more_columns_to_a_row_the_more_it_is_shrunk():
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(12, 40)).astype(np.float32), np.repeat([0, 1], 6)
    scores = Distance.fit(rows, labels.astype(np.int8)).score(rows)
    assert np.isfinite(scores).all()
    assert np.abs(scores).max() < 100
