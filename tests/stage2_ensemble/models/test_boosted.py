"""LightGBM on named columns: weights, rounds, bags, alignment, determinism."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import lightgbm
import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.metrics import log_loss, roc_auc_score
from synthetic_world import draw_columns, draw_grouped, hold_out, spare
from threadpoolctl import threadpool_limits

from features.errors import AlignmentError, LeakageError
from features.settings.stacking import Stack
from stage2_ensemble.columns.feature_matrix import FeatureMatrix, fit_basis
from stage2_ensemble.columns.projection import Distance
from stage2_ensemble.models import boosted
from stage2_ensemble.models import boosted as module
from stage2_ensemble.models.boosted import (
    EFFECTIVE_BETA,
    FOREST_TREES,
    Boosted,
    FoldModels,
    build_options,
    find_rounds,
    gather_rows,
    weigh_rows,
)

ROOT = Path(__file__).parents[3]
SETTINGS = Stack(
    inner_folds=3, bags=1, pca_components=4, max_rounds=20, learning_rate=0.2, num_leaves=7
)


def change(**values) -> Stack:
    return SETTINGS.model_copy(update=values)


def write_texts(model: Boosted) -> list[str]:
    return [booster.model_to_string() for booster in model.boosters]


@pytest.fixture(scope="module")
def columns():
    return draw_columns()


@pytest.fixture(scope="module")
def model(columns):
    return Boosted.fit([columns], SETTINGS, 0)


@pytest.mark.parametrize("components", [False, True])
def test_it_finds_what_embeddings_know_beyond_the_logits(columns, components):
    # Same members, other rows: the axes depend on the fold, the rows on the seed.
    new = draw_columns(seed=7)
    best = max(roc_auc_score(new.labels, column) for column in new.logits.T)
    model = Boosted.fit([columns], SETTINGS, 0, components=components)
    assert roc_auc_score(new.labels, model.score(hold_out(new))) > best + 0.05


def test_rows_of_other_folds_teach_it_too(columns):
    other = draw_columns(1, 400, 600, seed=50)
    new = hold_out(draw_columns(seed=7))
    scores = [Boosted.fit(folds, SETTINGS, 0).score(new) for folds in ([columns], [columns, other])]
    aucs = [roc_auc_score(draw_columns(seed=7).labels, score) for score in scores]
    assert aucs[1] > aucs[0]


# --- class weights


@pytest.mark.parametrize("kind", ["gbdt", "rf"])
@pytest.mark.parametrize("class_weight", ["balanced", "effective", "none", 3.0, 0.2])
def test_mean_probability_is_the_share_of_fakes(monkeypatch, kind, class_weight):
    monkeypatch.setattr(module, "FOREST_TREES", 30)
    noise = draw_columns(reals=800, fakes=3200, hidden=0.0)
    rng = np.random.default_rng(1)
    noise = replace(noise, logits=rng.normal(size=noise.logits.shape))
    settings = change(class_weight=class_weight, learning_rate=0.02, max_rounds=10)
    learn, new = noise.take(np.arange(2000)), noise.take(np.arange(2000, 4000))
    scores = Boosted.fit([learn], settings, 0, kind).score(new)
    # A forest averages Newton steps, which are straight where log-odds are bent.
    assert expit(scores).mean() == pytest.approx(0.8, abs=0.04 if kind == "rf" else 0.01)


def weigh(class_weight, labels=(0, 0, 1, 1, 1, 1, 1, 1), given=(1.0, 3, 1, 1, 2, 2, 1, 1)):
    """Total weights of reals and of fakes, and the shift."""
    labels, given = np.array(labels, np.int8), np.array(given)
    weights, shift = weigh_rows(labels, given, class_weight)
    assert weights.sum() == pytest.approx(given.sum())
    for label in (0, 1):  # a row's own weight stays
        ratios = (weights / given)[labels == label]
        np.testing.assert_allclose(ratios, ratios[0])
    ratios = [(weights / given)[labels == label][0] for label in (0, 1)]
    assert shift == pytest.approx(np.log(ratios[1] / ratios[0]))
    return weights[labels == 0].sum(), weights[labels == 1].sum(), shift


def test_balanced_weights_give_both_classes_the_same_total():
    reals, fakes, shift = weigh("balanced")
    assert reals == pytest.approx(fakes)
    assert shift == pytest.approx(np.log(4 / 8))  # total weights of reals and of fakes


def test_weights_none_are_left_as_they_are():
    labels, given = np.array([0, 1, 1], np.int8), np.array([1.0, 2, 5])
    weights, shift = weigh_rows(labels, given, "none")
    np.testing.assert_allclose(weights, given)
    assert shift == 0
    assert weigh("none")[:2] == pytest.approx((4, 8))


@pytest.mark.parametrize("number", [0.234, 1.0, 7.0])
def test_a_number_is_what_a_real_counts(number):
    reals, fakes, shift = weigh(number)
    assert reals / fakes == pytest.approx(number * 4 / 8)
    assert shift == pytest.approx(-np.log(number))


def test_effective_weights_lie_between_none_and_balanced():
    for rows in (10, 100_000, 10_000_000):
        labels = np.repeat([0, 1], [rows // 10, rows])
        *_, shift = weigh("effective", labels, np.ones(len(labels)))
        effective = [(1 - EFFECTIVE_BETA**n) / (1 - EFFECTIVE_BETA) for n in (rows // 10, rows)]
        assert shift == pytest.approx(np.log(effective[0] / effective[1]), rel=1e-6)
    assert shift == pytest.approx(0, abs=1e-6)  # beyond some number further rows add nothing
    few = np.repeat([0, 1], [1, 10])
    assert weigh("effective", few, np.ones(11))[2] == pytest.approx(np.log(0.1), abs=1e-3)


@pytest.mark.parametrize("kind", ["gbdt", "rf"])
def test_row_weights_reach_the_trees(kind):
    columns = draw_columns(reals=300, fakes=300)
    wrong = np.arange(600) % 2 == 0
    flipped = np.where(wrong, 1 - columns.labels, columns.labels).astype(np.int8)
    weights = np.where(wrong, 1e-3, 1.0)
    bare = change(columns=("logit:*",))  # distances to class means count no weights
    wary = Boosted.fit([replace(columns, labels=flipped, weights=weights)], bare, 0, kind)
    blind = Boosted.fit([replace(columns, labels=flipped)], bare, 0, kind)
    aucs = [roc_auc_score(columns.labels, model.score(columns)) for model in (wary, blind)]
    assert aucs[0] > 0.85 > 0.75 > aucs[1]


def test_classes_are_weighed_over_all_folds():
    folds = [draw_columns(0, 20, 80), draw_columns(1, 50, 50)]
    labels, weights, shift = gather_rows(folds, SETTINGS)
    assert labels.tolist() == [*folds[0].labels, *folds[1].labels]
    assert weights[labels == 0].sum() == pytest.approx(weights[labels == 1].sum())
    assert shift == pytest.approx(np.log(70 / 130))


# --- rounds


def search_rounds(folds, settings, components=False, parts=None) -> int:
    """As `Boosted.fit` does it; `parts` in place of those of the basis."""
    basis = fit_basis(folds, settings, 0)
    _, rows = FeatureMatrix.fit(folds, settings, components, basis)
    labels, weights, _ = gather_rows(folds, settings)
    options = build_options(settings, 0, "gbdt", rows.shape)
    data = lightgbm.Dataset(rows, labels, weight=weights, params=options, free_raw_data=False)
    parts = parts or [basis[c.fold].parts for c in folds]
    return find_rounds(data, parts, options, settings.max_rounds)


def test_rows_that_stop_the_boosting_are_not_learned_from(monkeypatch):
    folds = [draw_grouped(0), draw_grouped(1, seed=50)]
    sizes, real = [], lightgbm.train

    def train(options, data, rounds, valid_sets=(), **rest):
        booster = real(options, data, rounds, valid_sets=valid_sets, **rest)
        sizes.append([data.num_data(), *(held.num_data() for held in valid_sets)])
        return booster

    monkeypatch.setattr(lightgbm, "train", train)
    basis = fit_basis(folds, SETTINGS, 0)
    stop = [basis[c.fold].parts == 0 for c in folds]
    Boosted.fit(folds, SETTINGS, 0)
    for columns, held in zip(folds, stop, strict=True):
        assert held.sum() == pytest.approx(200 / 3, abs=3)
        assert not set(columns.groups[held]) & set(columns.groups[~held])
    count = sum(int(held.sum()) for held in stop)
    assert sizes[0] == [400 - count, count]
    assert sizes[1:] == [[400]] * SETTINGS.bags  # what ships learns from all rows


def test_rows_that_stop_it_have_distances_by_models_of_the_others():
    columns = draw_grouped(0)
    basis = fit_basis([columns], SETTINGS, 0)[0]
    learn = columns.take(basis.parts != 0)
    components = basis.axes[0].projection.apply(columns.embeddings[0])
    model = Distance.fit(components[basis.parts != 0], learn.labels)
    held = basis.parts == 0
    np.testing.assert_allclose(basis.distances[0][held], model.score(components[held]))


def test_rounds_are_few_without_signal_and_more_with_it():
    columns, settings = draw_columns(reals=200, fakes=200), change(max_rounds=60)
    labels = np.random.default_rng(0).permutation(columns.labels)
    found = [search_rounds([c], settings) for c in (replace(columns, labels=labels), columns)]
    assert found[0] < 5 < found[1] <= 60


@pytest.mark.parametrize("components", [False, True])
def test_rounds_are_those_of_the_lowest_weighted_loss(components):
    # Nine fakes to a real: the unweighted loss would go on falling with the class weights undone.
    columns, settings = draw_columns(reals=100, fakes=900, hidden=0.0), change(max_rounds=40)
    basis = fit_basis([columns], settings, 0)
    held = basis[0].parts == 0
    _, rows = FeatureMatrix.fit([columns], settings, components, basis)
    labels, weights, _ = gather_rows([columns], settings)
    options = build_options(settings, 0, "gbdt", rows.shape)
    data = lightgbm.Dataset(rows, labels, weight=weights, params=options, free_raw_data=False)
    booster = lightgbm.train(options, data.subset(np.flatnonzero(~held).tolist()), 40)
    losses = [
        log_loss(
            labels[held],
            booster.predict(rows[held], num_iteration=k),
            sample_weight=weights[held],
        )
        for k in range(1, 41)
    ]
    assert search_rounds([columns], settings, components) == 1 + int(np.argmin(losses)) < 40


def test_too_few_groups_to_stop_on_give_a_tenth_of_the_rounds(columns):
    groups = np.where(columns.labels == 1, np.arange(200), 1000)  # all reals are of one
    one = replace(columns, groups=groups)
    assert search_rounds([one], change(max_rounds=300)) == 30
    assert search_rounds([one], change(max_rounds=3)) == 1
    assert Boosted.fit([one], SETTINGS, 0).boosters[0].num_trees() == 2


# --- bags and forests


def test_bags_are_averaged(columns):
    new = hold_out(draw_columns(seed=7))
    model = Boosted.fit([columns], change(bags=3), 4)
    single = [Boosted.fit([columns], SETTINGS, 4)]
    assert write_texts(model)[:1] == write_texts(single[0])
    assert len(set(write_texts(model))) == len(model.boosters) == 3
    rows = model.table.build(new)
    found = [booster.predict(rows, raw_score=True) for booster in model.boosters]
    np.testing.assert_allclose(model.score(new), np.mean(found, axis=0) - model.shift)
    assert len({booster.num_trees() for booster in model.boosters}) == 1


def test_a_forest_is_a_mean_of_many_trees(columns):
    model = Boosted.fit([columns], SETTINGS, 0, "rf")
    assert FOREST_TREES == 200
    assert [booster.num_trees() for booster in model.boosters] == [FOREST_TREES]
    assert "average_output" in write_texts(model)[0]
    new = draw_columns(seed=7)
    scores = model.score(hold_out(new))
    assert roc_auc_score(new.labels, scores) > 0.9
    # LightGBM's own mean, which its raw scores are not.
    wanted = logit(model.boosters[0].predict(model.table.build(new))) - model.shift
    np.testing.assert_allclose(scores, wanted, rtol=1e-6)


def test_a_forest_takes_a_bootstrap_sample_and_the_root_of_the_columns():
    options = build_options(SETTINGS, 0, "rf", (100, 25))
    assert options["bagging_fraction"] == 0.632
    assert options["bagging_freq"] == 1
    assert options["feature_fraction_bynode"] == pytest.approx(0.2)
    assert build_options(SETTINGS, 0, "rf", (100, 1))["feature_fraction_bynode"] == 1
    assert "learning_rate" not in options


def test_settings_reach_lightgbm():
    values = {"num_leaves": 5, "min_data_in_leaf": 7, "lambda_l2": 0.5}
    values |= {"learning_rate": 0.3, "feature_fraction": 0.7}
    options = build_options(change(**values), 3, "gbdt", (1000, 10))
    assert {name: options[name] for name in values} == values
    assert (options["seed"], options["deterministic"]) == (3, True)


@pytest.mark.parametrize("kind", ["gbdt", "rf"])
def test_few_rows_are_split_too(kind):
    columns = draw_columns(reals=15, fakes=25)
    model = Boosted.fit([columns], SETTINGS, 0, kind)
    scores = model.score(hold_out(columns))
    assert len(np.unique(scores)) > 3
    assert roc_auc_score(columns.labels, scores) > 0.8


# --- fold by fold


def test_each_fold_has_a_model_of_its_own_rows():
    folds = [draw_columns(0), draw_columns(2, seed=50)]
    models = FoldModels.fit(folds, SETTINGS, 5)
    assert set(models.models) == {0, 2}
    for columns in folds:
        alone = Boosted.fit([columns], SETTINGS, 5 + columns.fold, components=True)
        assert write_texts(models.models[columns.fold]) == write_texts(alone)
        assert [name for name in alone.table.names if name.startswith("pca:")]
        new = hold_out(draw_columns(columns.fold, seed=7))
        np.testing.assert_array_equal(models.score(new), alone.score(new))
    with pytest.raises(AlignmentError, match=r"found 1, wanted \[0, 2\]"):
        models.score(draw_columns(1))


# --- alignment and leakage


def test_other_members_are_refused(model, columns):
    with pytest.raises(AlignmentError, match="backbones"):
        model.score(replace(columns, backbones=("net-b", "net-a", "net_c")))
    with pytest.raises(AlignmentError, match=r"found 1, wanted \[0\]"):
        model.score(replace(columns, fold=1))
    narrow = replace(columns, embeddings=tuple(e[:, :-1] for e in columns.embeddings))
    with pytest.raises(AlignmentError, match="widths"):
        model.score(narrow)


def test_no_rows_give_no_scores(model, columns):
    assert model.score(columns.take(np.arange(0))).shape == (0,)


def test_one_row_scores_as_in_a_batch(model):
    new = hold_out(draw_columns(seed=7))
    alone = [model.score(new.take(np.array([i])))[0] for i in range(20)]
    np.testing.assert_allclose(alone, model.score(new)[:20], rtol=1e-4)


def test_nothing_is_fitted_on_rows_that_are_held_out(columns):
    held = hold_out(draw_columns(1))
    spared = spare(columns)
    for forbidden in (held, spared):
        for folds in ([forbidden], [columns, forbidden]):
            for kind in ("gbdt", "rf"):
                with pytest.raises(LeakageError, match=type(forbidden).__name__):
                    Boosted.fit(folds, SETTINGS, 0, kind)
            with pytest.raises(LeakageError, match=type(forbidden).__name__):
                fit_basis(folds, SETTINGS, 0)
            with pytest.raises(LeakageError, match=type(forbidden).__name__):
                FoldModels.fit(folds, SETTINGS, 0)


# --- determinism


@pytest.mark.parametrize("kind", ["gbdt", "rf"])
def test_same_rows_give_the_same_bytes(columns, kind):
    fits = [Boosted.fit([columns], change(bags=2), seed, kind) for seed in (0, 0, 1)]
    assert write_texts(fits[0]) == write_texts(fits[1])
    assert write_texts(fits[0])[0] != write_texts(fits[2])[0]


def fit_wide() -> str:
    """Model texts on embeddings that are wide enough for the linear algebra to use threads."""
    columns = draw_columns(reals=400, fakes=600)
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(384, 384)) / 20
    wide = (rng.normal(size=(1000, 384)) @ mix + columns.labels[:, None] / 10).astype(np.float16)
    wider = replace(columns, embeddings=(wide,) * 3)
    settings = change(pca_components=64, max_rounds=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boosted, "SERIAL_ROWS", 0)
        return "".join(write_texts(Boosted.fit([wider], settings, 0, components=True)))


@pytest.mark.fault("another number of threads")
def test_number_of_threads_changes_no_byte():
    code = "import sys, test_boosted; sys.stdout.write(test_boosted.fit_wide())"
    here = Path(__file__).parent
    path = os.pathsep.join(map(str, (ROOT, here, here.parent)))
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    command = [sys.executable, "-c", code]
    alone = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    with threadpool_limits(2):
        assert fit_wide() == alone.stdout
