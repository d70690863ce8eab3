"""LightGBM from the best simple combiner: where it begins, rounds, bags, alignment, determinism."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import lightgbm
import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import log_loss, roc_auc_score
from synthetic_world import draw_columns, draw_grouped, hold_out, spare
from threadpoolctl import threadpool_limits

from features.errors import AlignmentError, LeakageError
from features.settings.stacking import Stack
from stage2_ensemble.columns.basis import fit_basis
from stage2_ensemble.columns.columns import FoldColumns
from stage2_ensemble.columns.feature_matrix import FeatureMatrix
from stage2_ensemble.columns.projection import Distance
from stage2_ensemble.explanations.contributions import explain_model
from stage2_ensemble.models import boosted
from stage2_ensemble.models.best_simple import fit_start, pick_simple
from stage2_ensemble.models.boosted import (
    ALL,
    EFFECTIVE_BETA,
    Boosted,
    FoldModels,
    build_options,
    find_rounds,
    gather_rows,
    list_steps,
    weigh_rows,
)

ROOT = Path(__file__).parents[3]
SETTINGS = Stack(
    inner_folds=3,
    bags=1,
    pca_components=4,
    max_rounds=20,
    learning_rate=0.2,
    num_leaves=7,
    min_data_in_leaf=20,
    feature_fraction=0.5,
    lambda_l2=1.0,
    class_weight="balanced",
)


def change(**values) -> Stack:
    return SETTINGS.model_copy(update=values)


def write_texts(model: Boosted) -> list[str]:
    return [booster.model_to_string() for booster in model.boosters]


def add_mark(columns: FoldColumns, strength: float, seed: int = 0, count: int = 1) -> FoldColumns:
    """With forensic columns that say so much of the labels, beside the log-odds."""
    noise = np.random.default_rng([9, seed]).normal(size=(len(columns), count))
    extras = (strength * (2 * columns.labels[:, None] - 1) + noise).astype(np.float32)
    names = tuple(f"forensic:mark{i or ''}" for i in range(count))
    return replace(columns, extras=extras, extra_names=names)


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


# --- where it begins


@pytest.mark.parametrize("names", ["forensic:*", "*"])
def test_columns_that_say_nothing_give_no_trees_and_the_simple_ones_scores(names):
    columns = draw_columns(reals=150, fakes=150, hidden=0.0)
    if names == "*":  # the simple one says all there is; labels are drawn by its log-odds
        rng = np.random.default_rng(8)
        labels = rng.random(300) < expit(3 * columns.logits.mean(axis=1))
        columns = replace(columns, labels=labels.astype(np.int8))
    settings = change(bags=3, columns=(names,), learning_rate=0.1)
    new = add_mark(draw_columns(seed=7), 0.0, seed=7, count=8)
    silent = 0
    for seed in range(6):
        rows = add_mark(columns, 0.0, seed, count=8)
        model, simple = Boosted.fit([rows], settings, seed), pick_simple([rows], settings, seed)
        if not model.boosters:
            silent += 1
            np.testing.assert_array_equal(model.score(hold_out(new)), simple.score(new))
    # Of many rounds of noise one may look better by chance.
    assert silent >= 3


def test_columns_that_never_differ_give_no_trees(columns):
    flat = replace(add_mark(columns, 0.0), extras=np.ones((200, 1), np.float32))
    model = Boosted.fit([flat], change(columns=("forensic:*",)), 0)
    assert model.boosters == ()
    simple = pick_simple([flat], SETTINGS, 0)
    np.testing.assert_array_equal(model.score(hold_out(flat)), simple.score(flat))


def test_what_log_odds_say_in_full_needs_no_trees():
    """Log-odds that a sum of them turns into the truth, and nothing else: trees can only lose."""
    columns = draw_columns(reals=600, fakes=600, hidden=0.0)
    model = Boosted.fit([columns], SETTINGS, 0)
    new = draw_columns(reals=2000, fakes=2000, hidden=0.0, seed=7)
    aucs = [
        roc_auc_score(new.labels, side.score(hold_out(new)))
        for side in (model, pick_simple([columns], SETTINGS, 0))
    ]
    assert aucs[0] > aucs[1] - 0.004


@pytest.mark.parametrize("leaves", [2, 7])
def test_what_a_column_adds_makes_fresh_rows_better(leaves):
    learn = add_mark(draw_columns(reals=300, fakes=300, hidden=0.0), 0.7)
    fresh = add_mark(draw_columns(reals=1000, fakes=1000, hidden=0.0, seed=7), 0.7, seed=1)
    model = Boosted.fit([learn], change(num_leaves=leaves, max_rounds=60), 0)
    assert model.boosters
    sides = model.score(hold_out(fresh)), model.start.score(hold_out(fresh))
    aucs = [roc_auc_score(fresh.labels, scores) for scores in sides]
    losses = [log_loss(fresh.labels, expit(scores)) for scores in sides]
    assert aucs[0] > aucs[1] + 0.015
    assert losses[0] < losses[1] - 0.05


def test_stumps_are_a_sum_of_curves_one_a_column():
    learn = add_mark(draw_columns(reals=300, fakes=300), 0.7)
    model = Boosted.fit([learn], change(num_leaves=2, max_rounds=60), 0)
    found = explain_model(model, [new := hold_out(add_mark(draw_columns(seed=7), 0.7, seed=1))])
    np.testing.assert_allclose(found.base + found.values.sum(axis=1), model.score(new), atol=1e-9)
    # What a column adds depends on its own value alone.
    place, marks = found.names.index("forensic:mark"), np.asarray(new.extras)[:, 0]
    other = replace(new, logits=np.roll(new.logits, 1, axis=0))
    again = explain_model(model, [other])
    np.testing.assert_allclose(found.values[:, place], again.values[:, place], atol=1e-12)
    assert np.ptp(found.values[:, place]) > 1
    rising = np.corrcoef(marks, found.values[:, place])[0, 1]
    assert rising > 0.8


def test_scores_are_those_of_the_start_and_the_trees_on_top(model):
    new = hold_out(draw_columns(seed=7))
    trees = model.boosters[0].predict(model.table.build(new), raw_score=True)
    np.testing.assert_allclose(model.score(new), model.start.score(new) + trees)


def test_boosting_begins_at_cross_fitted_log_odds(columns, monkeypatch):
    begun, real = [], lightgbm.Dataset

    def build(*args, init_score, **rest):
        begun.append(init_score)
        return real(*args, init_score=init_score, **rest)

    monkeypatch.setattr(lightgbm, "Dataset", build)
    folds = [columns, draw_columns(1, 40, 160, seed=50)]
    start = fit_start(folds, SETTINGS, 0)
    Boosted.fit(folds, change(class_weight="none"), 0)
    Boosted.fit(folds, change(class_weight=3.0), 0)
    wanted = np.concatenate([start.crossed[0], start.crossed[1]])
    np.testing.assert_array_equal(begun[0], wanted)
    # A real counts three times: to these weights all log-odds are lower by as much.
    np.testing.assert_allclose(begun[1], wanted - np.log(3))


def test_a_start_of_more_folds_is_the_start(columns):
    folds = [columns, draw_columns(1, seed=50)]
    start = fit_start(folds, SETTINGS, 0)
    alone = Boosted.fit([columns], SETTINGS, 0, start=start)
    assert alone.start is start.best
    assert write_texts(alone) != write_texts(Boosted.fit([columns], SETTINGS, 0))


def test_rows_that_cannot_be_cut_fall_back_to_the_mean(columns):
    groups = np.where(columns.labels == 1, np.arange(200), 1000)  # all reals are of one
    one = replace(columns, groups=groups)
    new = hold_out(draw_columns(seed=7))
    for folds in ([one], [columns, replace(one, fold=1)]):
        model = Boosted.fit(folds, SETTINGS, 0)
        assert model.boosters == ()
        np.testing.assert_array_equal(model.score(new), new.logits.mean(axis=1))


@pytest.mark.parametrize("size", [(4, 6), (15, 25)])
def test_few_rows_are_learned_from_without_harm(size):
    few = draw_columns(0, *size)
    new = draw_columns(reals=500, fakes=500, seed=7)
    model = Boosted.fit([few], SETTINGS, 0)
    aucs = [
        roc_auc_score(new.labels, side.score(hold_out(new)))
        for side in (model, pick_simple([few], SETTINGS, 0))
    ]
    assert aucs[0] > aucs[1] - 0.03


# --- class weights


@pytest.mark.parametrize("class_weight", ["balanced", "effective", "none", 3.0, 0.2])
def test_mean_probability_is_the_share_of_fakes(class_weight):
    rows = add_mark(draw_columns(reals=800, fakes=3200, hidden=0.0), 0.5)
    learn, new = rows.take(np.arange(2000)), rows.take(np.arange(2000, 4000))
    model = Boosted.fit([learn], change(class_weight=class_weight), 0)
    assert model.boosters
    probabilities = expit(model.score(new))
    assert probabilities.mean() == pytest.approx(0.8, abs=0.02)
    for low, high in ((0.3, 0.6), (0.6, 0.9), (0.9, 1.0)):
        held = (probabilities > low) & (probabilities < high)
        assert held.sum() > 100
        wanted = new.labels[held].mean()
        assert probabilities[held].mean() == pytest.approx(wanted, abs=0.1)


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


def test_row_weights_reach_the_trees():
    columns = add_mark(draw_columns(reals=300, fakes=300, hidden=0.0), 1.0)
    wrong = np.arange(600) % 2 == 0
    flipped = np.where(wrong, 1 - columns.labels, columns.labels).astype(np.int8)
    weights = np.where(wrong, 1e-3, 1.0)
    bare = change(columns=("forensic:*",))  # distances to class means count no weights
    wary = Boosted.fit([replace(columns, labels=flipped, weights=weights)], bare, 0)
    blind = Boosted.fit([replace(columns, labels=flipped)], bare, 0)
    gains = [
        roc_auc_score(columns.labels, model.score(columns))
        - roc_auc_score(columns.labels, model.start.score(columns))
        for model in (wary, blind)
    ]
    assert gains[0] > 0.05 > 0.02 > gains[1]


def test_classes_are_weighed_over_all_folds():
    folds = [draw_columns(0, 20, 80), draw_columns(1, 50, 50)]
    labels, weights, shift = gather_rows(folds, SETTINGS)
    assert labels.tolist() == [*folds[0].labels, *folds[1].labels]
    assert weights[labels == 0].sum() == pytest.approx(weights[labels == 1].sum())
    assert shift == pytest.approx(np.log(70 / 130))


# --- rounds


def prepare(folds, settings, components=False, parts=None):
    """Dataset, parts, options as `Boosted.fit` has them; `parts` in place of those of the basis."""
    basis, start = fit_basis(folds, settings, 0), fit_start(folds, settings, 0)
    _, rows = FeatureMatrix.fit(folds, settings, components, basis)
    labels, weights, shift = gather_rows(folds, settings)
    options = build_options(settings, 0, rows.shape)
    begin = np.concatenate([start.crossed[c.fold] for c in folds]) + shift
    data = lightgbm.Dataset(
        rows, labels, weight=weights, init_score=begin, params=options, free_raw_data=False
    )
    return data, parts or [basis[c.fold].inner_folds for c in folds], options


def search_rounds(folds, settings, components=False, parts=None, steps=None) -> list[int]:
    data, parts, options = prepare(folds, settings, components, parts)
    return find_rounds(data, parts, options, settings.max_rounds, steps or list_steps(settings))


def test_rows_that_stop_the_boosting_are_not_learned_from(monkeypatch):
    folds = [draw_grouped(0), draw_grouped(1, seed=50)]
    taken, fitted, subset, train = [], [], lightgbm.Dataset.subset, lightgbm.train

    def watch_subset(data, rows):
        taken.append(rows)
        return subset(data, rows)

    def watch_train(options, data, *rest, **named):
        fitted.append(data.num_data())
        return train(options, data, *rest, **named)

    monkeypatch.setattr(lightgbm.Dataset, "subset", watch_subset)
    monkeypatch.setattr(lightgbm, "train", watch_train)
    Boosted.fit(folds, change(bags=2), 0)
    groups = np.concatenate([c.groups for c in folds])
    cuts = [(taken[i], np.array(taken[i + 1])) for i in range(0, len(taken), 2)]
    assert len(cuts) == SETTINGS.inner_folds  # every part has its turn
    assert sorted(i for _, left_out in cuts for i in left_out) == list(range(400))
    for learned, left_out in cuts:
        assert sorted([*learned, *left_out]) == list(range(400))
        assert not set(groups[learned]) & set(groups[left_out])
        assert 50 < (left_out < 200).sum() < 80  # of both folds
    assert fitted == [400, 400]  # what ships learns from all rows


def test_rows_that_stop_it_have_distances_by_models_of_the_others():
    columns = draw_grouped(0)
    basis = fit_basis([columns], SETTINGS, 0)[0]
    for part in range(3):
        learn = columns.take(basis.inner_folds != part)
        components = basis.axes[0].projection.apply(columns.embeddings[0])
        model = Distance.fit(components[basis.inner_folds != part], learn.labels)
        held = basis.inner_folds == part
        np.testing.assert_allclose(basis.distances[0][held], model.score(components[held]))


@pytest.mark.parametrize("components", [False, True])
@pytest.mark.parametrize("class_weight", ["balanced", "none"])
def test_rounds_are_those_of_the_lowest_weighted_loss(components, class_weight):
    """By boosting round by round, and adding the start by hand."""
    columns = draw_columns(reals=60, fakes=240, hidden=0.3)
    settings = change(max_rounds=40, class_weight=class_weight)
    data, (parts,), options = prepare([columns], settings, components)
    data.construct()
    labels, weights, begin = data.get_label(), data.get_weight(), data.get_init_score()
    weights = np.ones(300) if weights is None else weights
    rows, losses, step = data.get_data(), np.zeros(41), {"num_leaves": 7, "feature_fraction": 0.5}
    for part in range(3):
        learn, held = np.flatnonzero(parts != part), np.flatnonzero(parts == part)
        booster = lightgbm.train(options | step, data.subset(learn.tolist()), 40)
        for k in range(41):
            trees = booster.predict(rows[held], num_iteration=k, raw_score=True) if k else 0.0
            odds = begin[held] + trees
            losses[k] += log_loss(labels[held], expit(odds), sample_weight=weights[held]) / 3
    (rounds,) = search_rounds([columns], settings, components, steps=[step])
    assert rounds == int(np.argmin(losses)) < 40


def test_rounds_are_none_without_signal_and_more_with_it():
    settings = change(max_rounds=60, num_leaves=2)
    rows = draw_columns(reals=300, fakes=300, hidden=0.0)
    mute = settings.model_copy(update={"columns": ("forensic:*",)})
    found = [search_rounds([add_mark(rows, 0.0, seed)], mute) for seed in range(5)]
    assert [0] in found
    assert max(found) <= [6]
    assert 5 < search_rounds([add_mark(rows, 1.0)], settings)[0] <= 60
    (rounds,) = search_rounds([add_mark(rows, 1.0)], settings.model_copy(update={"max_rounds": 3}))
    assert 0 < rounds <= 3


def test_a_fold_that_cannot_be_cut_gives_no_rounds(columns):
    folds = [columns, draw_columns(1, seed=50)]
    parts = fit_basis(folds, SETTINGS, 0)[0].inner_folds
    assert search_rounds(folds, SETTINGS, parts=[parts, None]) == [0, 0]
    assert sum(search_rounds(folds, SETTINGS, parts=[parts, parts])) > 0


# --- curves, then trees that look at columns together


def draw_pair(rows: int, seed: int) -> FoldColumns:
    """A column that says much, but only of rows where another one is high."""
    columns = draw_columns(reals=rows, fakes=rows, hidden=0.0, seed=seed)
    switch, mark = np.random.default_rng([8, seed]).normal(size=(2, 2 * rows))
    mark += 1.5 * (2 * columns.labels - 1) * np.where(switch > 0, 1, -0.5)
    extras = np.stack([switch, mark], axis=1).astype(np.float32)
    return replace(columns, extras=extras, extra_names=("forensic:switch", "forensic:mark"))


PAIR = SETTINGS.model_copy(update={"max_rounds": 100, "learning_rate": 0.1, "num_leaves": 15})


def test_what_columns_tell_together_is_found_after_the_curves():
    learn, fresh = draw_pair(400, 0), draw_pair(1000, 7)
    together = Boosted.fit([learn], PAIR, 0)
    curves = Boosted.fit([learn], PAIR.model_copy(update={"num_leaves": 2}), 0)
    aucs = [
        roc_auc_score(fresh.labels, side.score(hold_out(fresh)))
        for side in (together.start, curves, together)
    ]
    assert aucs[2] > max(aucs[:2]) + 0.01


def test_trees_of_more_leaves_follow_the_curves():
    learn = draw_pair(400, 0)
    curves, together = search_rounds([learn], PAIR)
    (booster,) = Boosted.fit([learn], PAIR, 0).boosters
    leaves = [tree["num_leaves"] for tree in booster.dump_model()["tree_info"]]
    assert curves > 0
    assert together > 0
    assert leaves[:curves] == [2] * curves
    assert len(leaves) == curves + together
    assert 2 < max(leaves[curves:]) <= 15


# --- bags


def test_bags_are_averaged(columns):
    new = hold_out(draw_columns(seed=7))
    model = Boosted.fit([columns], change(bags=3), 4)
    single = Boosted.fit([columns], SETTINGS, 4)
    assert write_texts(model)[:1] == write_texts(single)
    assert len(set(write_texts(model))) == len(model.boosters) == 3
    rows = model.table.build(new)
    found = [booster.predict(rows, raw_score=True) for booster in model.boosters]
    np.testing.assert_allclose(model.score(new), model.start.score(new) + np.mean(found, axis=0))
    assert len({booster.num_trees() for booster in model.boosters}) == 1


def test_settings_reach_lightgbm():
    values = {"min_data_in_leaf": 7, "learning_rate": 0.3}
    settings = change(**values, num_leaves=5, feature_fraction=0.7, lambda_l2=0.5)
    options = build_options(settings, 3, (1000, 10))
    assert {name: options[name] for name in values} == values
    assert list_steps(settings) == [
        {"num_leaves": 2, "feature_fraction": 0.7, "lambda_l2": 0.5},
        {"num_leaves": 5, "feature_fraction": ALL, "lambda_l2": 5.0},
    ]
    assert (options["seed"], options["deterministic"]) == (3, True)


# --- fold by fold


def test_each_fold_has_a_model_of_its_own_rows_from_the_start_of_all():
    folds = [draw_columns(0), draw_columns(2, seed=50)]
    models = FoldModels.fit(folds, SETTINGS, 5)
    start = fit_start(folds, SETTINGS, 5)
    assert set(models.models) == {0, 2}
    for columns in folds:
        own = models.models[columns.fold]
        alone = Boosted.fit([columns], SETTINGS, 5 + columns.fold, start=start, components=True)
        assert own.start.to_json() == start.best.to_json()
        assert write_texts(own) == write_texts(alone) != []
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
            with pytest.raises(LeakageError, match=type(forbidden).__name__):
                Boosted.fit(folds, SETTINGS, 0)
            with pytest.raises(LeakageError, match=type(forbidden).__name__):
                fit_basis(folds, SETTINGS, 0)
            with pytest.raises(LeakageError, match=type(forbidden).__name__):
                FoldModels.fit(folds, SETTINGS, 0)


# --- determinism


def test_same_rows_give_the_same_bytes(columns):
    fits = [Boosted.fit([columns], change(bags=2), seed) for seed in (0, 0, 1)]
    assert write_texts(fits[0]) == write_texts(fits[1]) != []
    assert fits[0].start.to_json() == fits[1].start.to_json()
    assert write_texts(fits[0])[0] != write_texts(fits[2])[0]


def fit_wide() -> str:
    """Start and model texts: embeddings so wide that the linear algebra uses threads."""
    columns = draw_columns(reals=400, fakes=600)
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(384, 384)) / 20
    wide = (rng.normal(size=(1000, 384)) @ mix + columns.labels[:, None] / 10).astype(np.float16)
    wider = replace(columns, embeddings=(wide,) * 3)
    settings = change(pca_components=64, max_rounds=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boosted, "SERIAL_ROWS", 0)
        model = Boosted.fit([wider], settings, 0, components=True)
    assert model.boosters
    return json.dumps([model.start.to_json(), *write_texts(model)])


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
