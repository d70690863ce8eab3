"""The stacker of one fold: weights, components, alignment, determinism."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import log_loss, roc_auc_score
from synthetic_world import BACKBONES, WIDTH, draw_columns, hold_out
from threadpoolctl import threadpool_limits

from features.errors import AlignmentError, LeakageError
from features.stack_params import Stack
from stage2_ensemble import stacker as module
from stage2_ensemble.columns import CalibrationColumns
from stage2_ensemble.stacker import (
    Projection,
    build_matrix,
    find_rounds,
    fit_stacker,
    name_columns,
    weigh_rows,
)

ROOT = Path(__file__).parents[2]
SETTINGS = Stack(pca_components=4, max_rounds=20, learning_rate=0.2, num_leaves=7)


@pytest.fixture(scope="module")
def columns():
    return draw_columns()


@pytest.fixture(scope="module")
def stacker(columns):
    return fit_stacker(columns, SETTINGS, 0, 15)


def test_it_finds_what_embeddings_know_beyond_the_logits(stacker):
    # Same members, other rows: the axes depend on the fold, the rows on the seed.
    new = draw_columns(seed=7)
    best = max(roc_auc_score(new.labels, column) for column in new.logits.T)
    assert roc_auc_score(new.labels, stacker.score(hold_out(new))) > best + 0.03


# --- class weights


@pytest.mark.parametrize("class_weight", ["balanced", "none"])
def test_mean_probability_is_the_share_of_fakes(class_weight):
    noise = draw_columns(reals=400, fakes=1600, hidden=0.0)
    rng = np.random.default_rng(1)
    noise = replace(noise, logits=rng.normal(size=noise.logits.shape))
    settings = SETTINGS.model_copy(update={"class_weight": class_weight, "learning_rate": 0.02})
    scores = fit_stacker(noise, settings, 0, 10).score(noise)
    assert expit(scores).mean() == pytest.approx(0.8, abs=0.01)


def test_balanced_weights_give_both_classes_the_same_total():
    labels = np.array([0, 0, 1, 1, 1, 1, 1, 1], np.int8)
    given = np.array([1.0, 3, 1, 1, 2, 2, 1, 1])
    weights, shift = weigh_rows(labels, given, "balanced")
    assert weights[labels == 0].sum() == pytest.approx(weights[labels == 1].sum())
    assert weights.sum() == pytest.approx(given.sum())
    assert weights[1] == pytest.approx(3 * weights[0])  # a row's own weight stays
    assert shift == pytest.approx(np.log(4 / 8))  # total weights of reals and of fakes


def test_weights_none_are_left_as_they_are():
    labels, given = np.array([0, 1, 1], np.int8), np.array([1.0, 2, 5])
    weights, shift = weigh_rows(labels, given, "none")
    assert (weights.tolist(), shift) == ([1, 2, 5], 0.0)


def test_row_weights_reach_the_trees():
    columns = draw_columns(reals=300, fakes=300)
    wrong = np.arange(600) % 2 == 0
    flipped = np.where(wrong, 1 - columns.labels, columns.labels).astype(np.int8)
    weights = np.where(wrong, 1e-3, 1.0)
    wary = fit_stacker(replace(columns, labels=flipped, weights=weights), SETTINGS, 0, 10)
    assert roc_auc_score(columns.labels, wary.score(columns)) > 0.85


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


def test_columns_are_named_after_what_they_hold(stacker, columns):
    assert stacker.names[:4] == ("logit:net-a", "logit:net-b", "logit:net_c", "pca:net-a:0")
    assert stacker.names[-1] == "pca:net_c:3"
    matrix = build_matrix(columns, stacker.projections)
    assert matrix.shape == (len(columns), len(stacker.names)) == (200, 3 + 3 * 4)
    np.testing.assert_array_equal(matrix[:, :3], columns.logits.astype(np.float32))
    projected = stacker.projections["net-b"].apply(columns.embeddings[1])
    np.testing.assert_array_equal(matrix[:, 7:11], projected)


# --- alignment and leakage


def keep_places(columns, places, names=None):
    return replace(
        columns,
        backbones=names or tuple(columns.backbones[p] for p in places),
        logits=columns.logits[:, places],
        embeddings=tuple(columns.embeddings[p] for p in places),
    )


@pytest.mark.parametrize(
    ("places", "names"),
    [
        ([1, 0, 2], None),
        ([0, 1], None),
        ([0, 1, 2], ("net-a", "net-b", "other")),
        ([0, 1, 2, 2], (*BACKBONES, "other")),
    ],
    ids=["permuted", "missing", "renamed", "added"],
)
def test_other_backbones_are_refused(stacker, columns, places, names):
    with pytest.raises(AlignmentError):
        stacker.score(keep_places(columns, places, names))


def test_another_fold_is_refused(stacker, columns):
    with pytest.raises(AlignmentError, match=r"found 1, wanted 0"):
        stacker.score(replace(columns, fold=1))


def test_other_widths_are_refused(stacker, columns):
    narrow = replace(columns, embeddings=tuple(e[:, :-1] for e in columns.embeddings))
    with pytest.raises(AlignmentError, match="widths"):
        stacker.score(narrow)


def test_names_need_a_projection_for_each_backbone(stacker):
    with pytest.raises(AlignmentError, match="other"):
        name_columns(("other",), stacker.projections)


def test_no_rows_give_no_scores(stacker, columns):
    assert stacker.score(columns.take(np.arange(0))).shape == (0,)


def test_nothing_is_fitted_on_rows_that_are_held_out(columns):
    held = hold_out(columns)
    spared = CalibrationColumns(**vars(held), labels=columns.labels)
    for forbidden in (held, spared):
        with pytest.raises(LeakageError, match=type(forbidden).__name__):
            fit_stacker(forbidden, SETTINGS, 0, 5)
        with pytest.raises(LeakageError, match=type(forbidden).__name__):
            find_rounds(columns, forbidden, SETTINGS, 0)
        with pytest.raises(LeakageError, match=type(forbidden).__name__):
            find_rounds(forbidden, columns, SETTINGS, 0)


# --- rounds and determinism


def test_rounds_are_few_without_signal_and_more_with_it():
    learn, stop = draw_columns(reals=150, fakes=150), draw_columns(reals=150, fakes=150, seed=3)
    settings = SETTINGS.model_copy(update={"max_rounds": 60})
    with_signal = find_rounds(learn, stop, settings, 0)
    rng = np.random.default_rng(0)
    shuffled = replace(learn, labels=rng.permutation(learn.labels))
    assert find_rounds(shuffled, stop, settings, 0) < 5 < with_signal <= 60


def test_rounds_are_those_of_the_lowest_weighted_loss():
    # Nine fakes to a real: the unweighted loss would go on falling with the class weights undone.
    learn, stop = (draw_columns(reals=100, fakes=900, seed=s, hidden=0.0) for s in (0, 3))
    settings = SETTINGS.model_copy(update={"max_rounds": 40})
    stacker = fit_stacker(learn, settings, 0, 40)
    matrix = build_matrix(stop, stacker.projections)
    weights, _ = weigh_rows(stop.labels, stop.weights, "balanced")
    losses = [
        log_loss(
            stop.labels, stacker.booster.predict(matrix, num_iteration=k), sample_weight=weights
        )
        for k in range(1, 41)
    ]
    assert find_rounds(learn, stop, settings, 0) == 1 + int(np.argmin(losses)) < 40


def test_same_rows_give_the_same_bytes(columns, stacker):
    again = fit_stacker(columns, SETTINGS, 0, 15)
    assert again.booster.model_to_string() == stacker.booster.model_to_string()
    other = fit_stacker(columns, SETTINGS, 1, 15)
    assert other.booster.model_to_string() != stacker.booster.model_to_string()


def fit_wide() -> str:
    """Model text on embeddings that are wide enough for the linear algebra to use threads."""
    columns = draw_columns(reals=400, fakes=600)
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(384, 384)) / 20
    wide = (rng.normal(size=(1000, 384)) @ mix + columns.labels[:, None] / 10).astype(np.float16)
    settings = SETTINGS.model_copy(update={"pca_components": 64})
    stacker = fit_stacker(replace(columns, embeddings=(wide,) * 3), settings, 0, 20)
    return stacker.booster.model_to_string()


def test_number_of_threads_changes_no_byte():
    code = "import sys, test_stacker; sys.stdout.write(test_stacker.fit_wide())"
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    command = [sys.executable, "-c", code]
    alone = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    with threadpool_limits(2):
        assert fit_wide() == alone.stdout
