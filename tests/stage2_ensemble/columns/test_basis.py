"""What is fitted on embeddings: fold by fold, but of a frozen encoder on all rows together."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_world import BACKBONES, draw_axes, draw_columns, draw_member, draw_noise

from features.core.auc import find_auc
from features.errors import AlignmentError
from features.settings.stacking import Stack
from stage2_ensemble.columns import feature_matrix
from stage2_ensemble.columns.basis import fit_basis, list_shared
from stage2_ensemble.columns.feature_matrix import FeatureMatrix
from stage2_ensemble.columns.projection import Projection
from stage2_ensemble.evaluate.run import count_learned
from stage2_ensemble.models import candidates

SETTINGS = Stack(inner_folds=3, pca_components=3)
FROZEN = 1
ENCODERS = ("", "a" * 64, "")


def freeze(columns, seed=0):
    """The backbone in the middle becomes a frozen encoder: one set of axes for all folds."""
    _, embeddings = draw_member(columns.labels, 1.0, seed + columns.fold, draw_axes(77))
    found = (columns.embeddings[0], embeddings, columns.embeddings[2])
    row_ids = columns.row_ids + 10_000 * columns.fold
    groups = columns.groups + 10_000 * columns.fold
    return replace(columns, embeddings=found, encoders=ENCODERS, row_ids=row_ids, groups=groups)


@pytest.fixture
def folds():
    return [freeze(draw_columns(fold, seed=fold)) for fold in (0, 1)]


def test_a_frozen_encoder_has_one_projection_and_distance_in_all_folds(folds):
    basis = fit_basis(folds, SETTINGS, 0)
    first, second = basis[0].axes, basis[1].axes
    assert first[FROZEN] is second[FROZEN]
    together = np.concatenate([columns.embeddings[FROZEN] for columns in folds])
    wanted = Projection.fit(together, 3, 0)
    np.testing.assert_array_equal(first[FROZEN].projection.components, wanted.components)
    alone = {fold: fit_basis([columns], SETTINGS, 0)[fold] for fold, columns in enumerate(folds)}
    for place in (0, 2):  # trained networks are what they were
        for fold in (0, 1):
            own = basis[fold].axes[place].projection.components
            np.testing.assert_array_equal(own, alone[fold].axes[place].projection.components)
            np.testing.assert_array_equal(
                basis[fold].distances[place], alone[fold].distances[place]
            )


def test_its_distances_are_by_models_that_did_not_see_the_row():
    """Labels mean nothing here: models that saw them know them nevertheless, by heart."""
    folds = [freeze(draw_noise(fold, seed=fold, width=40)) for fold in (0, 1)]
    rng = np.random.default_rng(5)
    noise = rng.normal(size=(2, 200, 40)).astype(np.float16)
    folds = [
        replace(columns, embeddings=(columns.embeddings[0], own, columns.embeddings[2]))
        for columns, own in zip(folds, noise, strict=True)
    ]
    basis = fit_basis(folds, SETTINGS.model_copy(update={"pca_components": 40}), 0)
    labels = np.concatenate([columns.labels for columns in folds])
    crossed = np.concatenate([basis[fold].distances[FROZEN] for fold in (0, 1)])
    axes = basis[0].axes[FROZEN]
    by_heart = axes.distance.score(axes.projection.apply(noise.reshape(400, 40)))
    assert abs(find_auc(labels, crossed) - 0.5) < 0.08
    assert find_auc(labels, by_heart) > 0.65


def test_components_of_a_frozen_encoder_are_columns_of_models_of_several_folds(folds, monkeypatch):
    monkeypatch.setattr(feature_matrix, "LEAST_ROWS", 150)  # 80 reals a fold: enough together only
    basis = fit_basis(folds, SETTINGS, 0)
    table, rows = FeatureMatrix.fit(folds, SETTINGS, False, basis)
    own = [name for name in table.names if name.startswith("pca:")]
    assert own == [f"pca:{BACKBONES[FROZEN]}:{i}" for i in range(3)]
    places = [table.names.index(name) for name in own]
    wanted = basis[0].axes[FROZEN].projection
    applied = [wanted.apply(columns.embeddings[FROZEN]) for columns in folds]
    np.testing.assert_array_equal(rows[:, places], np.concatenate(applied))
    np.testing.assert_array_equal(table.build(folds[1])[:, places], applied[1])


def test_too_few_rows_of_all_folds_leave_components_out(folds):
    table, _ = FeatureMatrix.fit(folds, SETTINGS, False, fit_basis(folds, SETTINGS, 0))
    assert not any(name.startswith("pca:") for name in table.names)


@pytest.mark.parametrize("other", [("", "b" * 64, ""), ("", "", "")])
def test_another_encoder_in_one_fold_is_refused(folds, other):
    with pytest.raises(AlignmentError):
        fit_basis([folds[0], replace(folds[1], encoders=other)], SETTINGS, 0)


def test_trained_networks_share_nothing():
    assert list_shared([draw_columns(0), draw_columns(1)]) == ()


def test_where_all_encoders_are_frozen_a_model_of_one_fold_has_nothing_of_its_own(monkeypatch):
    monkeypatch.setattr(candidates, "LEAST_ROWS", 50)
    columns = draw_noise(0)
    settings = SETTINGS.model_copy(update={"candidates": ("lightgbm", "lightgbm_pca")})
    assert "lightgbm_pca" in candidates.list_fittable([columns], settings)
    frozen = replace(columns, encoders=("a", "b", "c"))
    assert "lightgbm_pca" not in candidates.list_fittable([frozen], settings)


def test_of_a_frozen_encoder_the_head_alone_was_learned(folds):
    assert count_learned(folds[0]) == {BACKBONES[FROZEN]: folds[0].embeddings[FROZEN].shape[1] + 1}
    assert count_learned(draw_columns(0)) == {}
